"""Steps and refunds of orders, weights and withdrawals of products, and generations of both.

Code of the revision before goes on beside it: what it does not know has a default. Orders seen before have no steps
until the read models are rebuilt. The first part is committed before indexes are built, hence IF NOT EXISTS.
"""

from chassis.database import schema

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    schema.script(
        """
        ALTER TABLE products
            ADD COLUMN IF NOT EXISTS generation bigint NOT NULL DEFAULT 1,
            ADD COLUMN IF NOT EXISTS weight_grams bigint NOT NULL DEFAULT 500,
            ADD COLUMN IF NOT EXISTS withdrawn boolean NOT NULL DEFAULT false;
        ALTER TABLE orders
            ADD COLUMN IF NOT EXISTS generation bigint NOT NULL DEFAULT 1,
            ADD COLUMN IF NOT EXISTS refunded_cents bigint NOT NULL DEFAULT 0,
            ADD COLUMN IF NOT EXISTS changed_at timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00',
            ADD COLUMN IF NOT EXISTS steps jsonb NOT NULL DEFAULT '[]';

        CREATE TABLE IF NOT EXISTS generations (
            id bigint PRIMARY KEY,
            use varchar NOT NULL
        );
        INSERT INTO generations VALUES (1, 'serves') ON CONFLICT DO NOTHING;

        CREATE TABLE IF NOT EXISTS rebuilds (
            generation bigint PRIMARY KEY,
            stage varchar NOT NULL,
            cursor varchar,
            products bigint NOT NULL,
            orders bigint NOT NULL,
            removed bigint NOT NULL,
            started_at timestamptz NOT NULL,
            done_at timestamptz,
            due_at timestamptz
        );
        CREATE INDEX IF NOT EXISTS rebuilds_due_at ON rebuilds (due_at) WHERE due_at IS NOT NULL;
        """
    )
    schema.index_concurrently("orders_of_day", "orders (placed_at, order_id)")
    schema.index_concurrently("products_by_generation", "products (id, generation)", unique=True)
    schema.index_concurrently("orders_by_generation", "orders (order_id, generation)", unique=True)
    # The code of the revision before knows one generation only, of which the new key holds as much as the old one.
    schema.script(
        """
        -- squawk-ignore ban-drop-constraint
        ALTER TABLE products DROP CONSTRAINT products_pkey,
            ADD CONSTRAINT products_pkey PRIMARY KEY USING INDEX products_by_generation;
        -- squawk-ignore ban-drop-constraint
        ALTER TABLE orders DROP CONSTRAINT orders_pkey,
            ADD CONSTRAINT orders_pkey PRIMARY KEY USING INDEX orders_by_generation;
        """
    )
