"""Published messages are found by their correlation and their moment."""

from chassis.database import schema

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    schema.upgrade_v2()
