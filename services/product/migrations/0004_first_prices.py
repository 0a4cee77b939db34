"""The price of each product that was there before the history of prices, in a transaction of its own."""

from chassis.database import schema

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    schema.script(
        """
        INSERT INTO prices SELECT id, version, price_cents, now() FROM products ON CONFLICT DO NOTHING;
        """
    )
