"""Products, stock, reservations."""

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
            price_cents bigint NOT NULL CHECK (price_cents > 0),
            currency varchar NOT NULL
        );
        CREATE INDEX products_by_name ON products (name, id);
        CREATE INDEX products_by_category ON products (category, name, id);
        CREATE INDEX products_by_words ON products USING gin (to_tsvector('simple', name || ' ' || description));

        CREATE TABLE stock (
            product_id uuid PRIMARY KEY REFERENCES products,
            on_hand bigint NOT NULL,
            reserved bigint NOT NULL,
            committed bigint NOT NULL,
            CONSTRAINT stock_is_never_oversold CHECK (0 <= reserved AND reserved <= on_hand)
        );

        CREATE TABLE reservations (
            order_id uuid PRIMARY KEY,
            hold varchar NOT NULL,
            lines jsonb NOT NULL,
            short jsonb NOT NULL
        );
        """
    )
