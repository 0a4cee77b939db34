"""Published messages are found by their correlation and their moment."""

from chassis.database import schema

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    schema.upgrade_v2()
