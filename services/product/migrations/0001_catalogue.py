"""Products with their prices, stock, reservations and returns."""

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
            currency varchar NOT NULL,
            weight_grams integer NOT NULL,
            withdrawn boolean NOT NULL
        );
        CREATE INDEX products_by_name ON products (name, id);
        CREATE INDEX products_by_category ON products (category, name, id) WHERE NOT withdrawn;
        CREATE INDEX products_per_category ON products (category) WHERE NOT withdrawn;
        CREATE INDEX products_by_text ON products USING gin (to_tsvector('simple', name || ' ' || description));

        CREATE TABLE product_prices (
            product_id uuid NOT NULL,
            version bigint NOT NULL,
            price_cents bigint NOT NULL,
            valid_from timestamptz NOT NULL,
            PRIMARY KEY (product_id, version)
        );
        CREATE FUNCTION record_price() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF OLD.price_cents IS DISTINCT FROM NEW.price_cents THEN
                INSERT INTO product_prices (product_id, version, price_cents, valid_from)
                VALUES (NEW.id, NEW.version, NEW.price_cents, now()); END IF; RETURN NULL; END $$;
        CREATE TRIGGER record_price AFTER INSERT OR UPDATE ON products FOR EACH ROW EXECUTE FUNCTION record_price();

        CREATE TABLE stock (
            product_id uuid PRIMARY KEY REFERENCES products,
            on_hand bigint NOT NULL,
            reserved bigint NOT NULL,
            committed bigint NOT NULL,
            returned bigint NOT NULL,
            withdrawn boolean NOT NULL,
            low boolean NOT NULL,
            CONSTRAINT stock_is_never_oversold CHECK (0 <= reserved AND reserved <= on_hand),
            CONSTRAINT never_more_returned_than_committed CHECK (returned <= committed)
        );
        CREATE INDEX low_stock ON stock (product_id) WHERE low;

        CREATE TABLE reservations (
            order_id uuid PRIMARY KEY,
            state varchar NOT NULL,
            lines jsonb NOT NULL,
            short_product_ids jsonb NOT NULL
        );

        CREATE TABLE returns (
            order_id uuid NOT NULL,
            id uuid NOT NULL,
            lines jsonb NOT NULL,
            PRIMARY KEY (order_id, id)
        );
        """
    )
