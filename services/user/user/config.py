"""How long things live, how often something may fail, who reports an erasure; and what follows from the service key."""

import hmac

from pydantic import Field

from chassis.calls import JWKS_CACHE_SECONDS
from chassis.config import Settings

HOUR, DAY = 3600, 24 * 3600


class UserSettings(Settings):
    access_token_seconds: int = 15 * 60
    refresh_token_seconds: int = 30 * DAY
    signing_key_seconds: int = Field(30 * DAY, gt=2 * JWKS_CACHE_SECONDS)  # from one rotation to the next
    wrong_passwords: int = 10  # per mail address in wrong_passwords_seconds, then no more guesses
    wrong_passwords_seconds: int = 15 * 60
    password_resets: int = 3  # mails per account in password_reset_seconds
    password_reset_seconds: int = HOUR
    erasure_services: tuple[str, ...] = ("aggregator", "notification", "order")  # who has to report
    erasure_again_seconds: int = DAY  # an erasure that waits longer is announced again
    erasure_kept_seconds: int = 365 * DAY  # the report, from its last word on

    def derived(self, purpose: str, about: bytes) -> bytes:
        """32 bytes that only who has the service key can make; nothing follows from those of another purpose."""
        return hmac.digest(self.service_key.encode(), f"user {purpose}\n".encode() + about, "sha256")
