"""The settings of the user service, and the secrets that are derived from the service key."""

import hmac

from pydantic import Field

from chassis.calls import JWKS_CACHE_SECONDS
from chassis.config import Settings

HOUR, DAY = 3600, 24 * 3600


class UserSettings(Settings):
    access_token_seconds: int = Field(15 * 60, description="The life of an access token.")
    refresh_token_seconds: int = Field(30 * DAY, description="The life of a refresh token; each use starts a new one.")
    signing_key_rotation_seconds: int = Field(
        30 * DAY, gt=2 * JWKS_CACHE_SECONDS, description="How long a key signs access tokens before the next one does."
    )
    login_failures_per_email: int = Field(
        10, description="Wrong passwords per mail address and window; after them no password is checked."
    )
    login_failure_window_seconds: int = Field(15 * 60, description="The window in which wrong passwords are counted.")
    password_reset_mails_per_account: int = Field(
        3, description="Mails per account with a secret that has not expired; then no more are sent."
    )
    password_reset_seconds: int = Field(HOUR, description="The life of the secret in a password reset mail.")
    erasure_services: tuple[str, ...] = Field(
        ("aggregator", "notification", "order"),
        description="The services that must report before an erasure is complete.",
    )
    erasure_repeat_seconds: int = Field(DAY, description="How often an erasure that waits for reports is sent again.")
    erasure_retention_seconds: int = Field(365 * DAY, description="How long the report of a complete erasure is kept.")

    def derive_secret(self, purpose: str, about: bytes) -> bytes:
        """32 bytes that only a holder of the service key can compute. Each purpose has secrets of its own."""
        return hmac.digest(self.service_key.encode(), f"user {purpose}\n".encode() + about, "sha256")
