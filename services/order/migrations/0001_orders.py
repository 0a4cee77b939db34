"""Carts, orders and their history."""

from chassis.database.schema import script, upgrade_v1

revision = "0001"
down_revision = None


def upgrade() -> None:
    upgrade_v1()
    script("""
        CREATE TABLE carts (
            id uuid PRIMARY KEY,
            customer_id uuid NOT NULL UNIQUE,
            lines jsonb NOT NULL,
            changed_at timestamptz NOT NULL
        );
        CREATE TABLE orders (
            id uuid PRIMARY KEY,
            version integer NOT NULL,
            status varchar NOT NULL,
            reason varchar,
            attention varchar,
            undo_tries integer NOT NULL,
            deadline timestamptz,
            stock varchar NOT NULL,
            payment varchar NOT NULL,
            shipment varchar NOT NULL,
            customer_id uuid NOT NULL,
            cart_id uuid NOT NULL UNIQUE,
            address_id uuid NOT NULL,
            payment_token varchar NOT NULL,
            lines jsonb NOT NULL CHECK (jsonb_array_length(lines) > 0),
            shipping_cents bigint NOT NULL,
            total_cents bigint NOT NULL,
            currency varchar NOT NULL,
            placed_at timestamptz NOT NULL,
            cause jsonb
        );
        CREATE INDEX orders_of_customer ON orders (customer_id, id);
        CREATE INDEX orders_deadline ON orders (deadline) WHERE deadline IS NOT NULL;
        CREATE INDEX orders_attention ON orders (id) WHERE attention IS NOT NULL;
        CREATE TABLE steps (
            order_id uuid NOT NULL,
            version integer NOT NULL,
            status varchar NOT NULL,
            reason varchar,
            cause varchar NOT NULL,
            at timestamptz NOT NULL,
            PRIMARY KEY (order_id, version)
        );
    """)
