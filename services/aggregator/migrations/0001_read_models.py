"""The read models of products and orders with their generations, and rebuilds."""

from chassis.database import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema.script(
        """
        CREATE TABLE generations (
            id bigint PRIMARY KEY,
            state varchar NOT NULL
        );
        INSERT INTO generations VALUES (1, 'active');

        CREATE TABLE products (
            id uuid NOT NULL,
            generation bigint NOT NULL,
            version bigint NOT NULL,
            name varchar NOT NULL,
            description varchar NOT NULL,
            category varchar NOT NULL,
            price_cents bigint NOT NULL,
            currency varchar NOT NULL,
            weight_grams bigint NOT NULL,
            withdrawn boolean NOT NULL,
            PRIMARY KEY (id, generation)
        );
        CREATE INDEX products_by_name ON products (name, id);
        CREATE INDEX products_by_category ON products (category, name, id);
        CREATE INDEX products_by_words ON products USING gin (to_tsvector('simple', name || ' ' || description));

        CREATE TABLE orders (
            order_id uuid NOT NULL,
            generation bigint NOT NULL,
            version bigint NOT NULL,
            status varchar NOT NULL,
            reason varchar,
            customer_id uuid NOT NULL,
            lines jsonb NOT NULL,
            shipping_cents bigint NOT NULL,
            total_cents bigint NOT NULL,
            refunded_cents bigint NOT NULL,
            currency varchar NOT NULL,
            placed_at timestamptz NOT NULL,
            changed_at timestamptz NOT NULL,
            steps jsonb NOT NULL,
            PRIMARY KEY (order_id, generation)
        );
        CREATE INDEX orders_of_customer ON orders (customer_id, order_id);
        CREATE INDEX orders_of_day ON orders (placed_at, order_id);

        CREATE TABLE rebuilds (
            generation bigint PRIMARY KEY,
            stage varchar NOT NULL,
            cursor varchar,
            products bigint NOT NULL,
            orders bigint NOT NULL,
            removed bigint NOT NULL,
            started_at timestamptz NOT NULL,
            completed_at timestamptz,
            due_at timestamptz
        );
        CREATE INDEX rebuilds_due_at ON rebuilds (due_at) WHERE due_at IS NOT NULL;
        """
    )
