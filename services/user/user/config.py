"""How long things live, how often something may fail, who reports an erasure; and what follows from the service key."""

import hmac

from pydantic import Field

from chassis.auth import KEYS_SECONDS
from chassis.config import Settings

HOUR, DAY = 3600, 24 * 3600


class UserSettings(Settings):
    access_token_seconds: int = 15 * 60
    refresh_token_seconds: int = 30 * DAY
    signing_key_rotation_seconds: int = Field(30 * DAY, gt=2 * KEYS_SECONDS)  # from one rotation to the next
    login_failures_per_email: int = 10  # per mail address in wrong_passwords_seconds, then no more guesses
    login_failure_window_seconds: int = 15 * 60
    password_reset_mails_per_account: int = 3  # mails per account in password_reset_seconds
    password_reset_seconds: int = HOUR
    erasure_services: tuple[str, ...] = ("aggregator", "notification", "order")  # who has to report
    erasure_repeat_seconds: int = DAY  # an erasure that waits longer is announced again
    erasure_retention_seconds: int = 365 * DAY  # the report, from its last word on

    def derive_secret(self, purpose: str, about: bytes) -> bytes:
        """32 bytes that only who has the service key can make; nothing follows from those of another purpose."""
        return hmac.digest(self.service_key.encode(), f"user {purpose}\n".encode() + about, "sha256")
