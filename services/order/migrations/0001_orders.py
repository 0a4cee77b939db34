"""Carts, quotes, orders and their history."""

from chassis.database import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema.script(
        """
        CREATE TABLE carts (
            id uuid PRIMARY KEY,
            customer_id uuid NOT NULL UNIQUE,
            lines jsonb NOT NULL,
            changed_at timestamptz NOT NULL,
            expires_at timestamptz
        );
        CREATE INDEX carts_expires_at ON carts (expires_at) WHERE expires_at IS NOT NULL;

        CREATE TABLE quotes (
            id uuid PRIMARY KEY,
            customer_id uuid NOT NULL,
            address_id uuid NOT NULL,
            lines jsonb NOT NULL,
            shipping_cents bigint NOT NULL,
            total_cents bigint NOT NULL,
            currency varchar NOT NULL,
            valid_until timestamptz NOT NULL
        );
        CREATE INDEX ix_quotes_customer_id ON quotes (customer_id);
        CREATE INDEX ix_quotes_valid_until ON quotes (valid_until);

        CREATE TABLE orders (
            id uuid PRIMARY KEY,
            version integer NOT NULL,
            status varchar NOT NULL,
            reason varchar,
            attention varchar,
            unanswered_tries integer NOT NULL,
            deadline timestamptz,
            stock varchar NOT NULL,
            payment varchar NOT NULL,
            shipment varchar NOT NULL,
            customer_id uuid NOT NULL,
            cart_id uuid NOT NULL UNIQUE,
            address_id uuid NOT NULL,
            payment_token varchar,
            lines jsonb NOT NULL CHECK (jsonb_array_length(lines) > 0),
            shipping_cents bigint NOT NULL,
            total_cents bigint NOT NULL,
            currency varchar NOT NULL,
            placed_at timestamptz NOT NULL,
            changed_at timestamptz NOT NULL DEFAULT now(),
            returnable_until timestamptz,
            refunds jsonb NOT NULL DEFAULT '[]',
            refunded_cents bigint NOT NULL DEFAULT 0,
            causation jsonb
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
        """
    )
