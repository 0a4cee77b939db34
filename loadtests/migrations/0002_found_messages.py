"""Published messages are found by their correlation and their moment."""

from chassis.database import schema

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    schema.upgrade_v2()
