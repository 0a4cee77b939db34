"""How long tokens live."""

from chassis.config import Settings


class UserSettings(Settings):
    access_token_seconds: int = 15 * 60
    refresh_token_seconds: int = 30 * 24 * 3600
