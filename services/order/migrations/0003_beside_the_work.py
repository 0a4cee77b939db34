"""An index that is built while carts are filled: a revision of its own, since it is not in a transaction."""

from chassis.database.schema import index_concurrently

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    index_concurrently("carts_expires_at", "carts (expires_at) WHERE expires_at IS NOT NULL")
