"""Products with their prices, stock, reservations and returns."""

from chassis import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema.upgrade_v1()
    schema.upgrade_v2()
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
        CREATE INDEX products_sold ON products (category, name, id) WHERE NOT withdrawn;
        CREATE INDEX products_counted ON products (category) WHERE NOT withdrawn;
        CREATE INDEX products_by_words ON products USING gin (to_tsvector('simple', name || ' ' || description));

        CREATE TABLE prices (
            product_id uuid NOT NULL,
            version bigint NOT NULL,
            price_cents bigint NOT NULL,
            since timestamptz NOT NULL,
            PRIMARY KEY (product_id, version)
        );
        CREATE FUNCTION keep_price() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF OLD.price_cents IS DISTINCT FROM NEW.price_cents THEN
                INSERT INTO prices VALUES (NEW.id, NEW.version, NEW.price_cents, now()); END IF; RETURN NULL; END $$;
        CREATE TRIGGER keep_price AFTER INSERT OR UPDATE ON products FOR EACH ROW EXECUTE FUNCTION keep_price();

        CREATE TABLE stock (
            product_id uuid PRIMARY KEY REFERENCES products,
            on_hand bigint NOT NULL,
            reserved bigint NOT NULL,
            committed bigint NOT NULL,
            returned bigint NOT NULL,
            withdrawn boolean NOT NULL,
            low boolean NOT NULL,
            CONSTRAINT stock_is_never_oversold CHECK (0 <= reserved AND reserved <= on_hand),
            CONSTRAINT no_more_came_back_than_left CHECK (returned <= committed)
        );
        CREATE INDEX stock_low ON stock (product_id) WHERE low;

        CREATE TABLE reservations (
            order_id uuid PRIMARY KEY,
            hold varchar NOT NULL,
            lines jsonb NOT NULL,
            short jsonb NOT NULL
        );

        CREATE TABLE returns (
            order_id uuid NOT NULL,
            id uuid NOT NULL,
            lines jsonb NOT NULL,
            PRIMARY KEY (order_id, id)
        );
        """
    )
