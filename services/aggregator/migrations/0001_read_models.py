"""Read models of products and orders."""

from chassis.database import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema.script(
        """
        CREATE TABLE products (
            id uuid PRIMARY KEY,
            version bigint NOT NULL,
            name varchar NOT NULL,
            description varchar NOT NULL,
            category varchar NOT NULL,
            price_cents bigint NOT NULL,
            currency varchar NOT NULL
        );
        CREATE INDEX products_by_name ON products (name, id);
        CREATE INDEX products_by_category ON products (category, name, id);
        CREATE INDEX products_by_words ON products USING gin (to_tsvector('simple', name || ' ' || description));

        CREATE TABLE orders (
            order_id uuid PRIMARY KEY,
            version bigint NOT NULL,
            status varchar NOT NULL,
            reason varchar,
            customer_id uuid NOT NULL,
            lines jsonb NOT NULL,
            shipping_cents bigint NOT NULL,
            total_cents bigint NOT NULL,
            currency varchar NOT NULL,
            placed_at timestamptz NOT NULL
        );
        CREATE INDEX orders_of_customer ON orders (customer_id, order_id);
        """
    )
