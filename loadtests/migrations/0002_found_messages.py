"""Indexes of published messages by correlation and time."""

from chassis import schema

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    schema.upgrade_v2()
