"""Weights, withdrawn products, prices as they were, goods that came back, stock that runs low.

Nothing here waits for a long lock, and code of the revision before goes on beside it: what it does not know has a
default, and the history of prices is written by a trigger, whoever changes one. Stock that is low already is noticed
with its next change.
"""

from chassis.database import schema

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    schema.script(
        """
        ALTER TABLE products
            ADD COLUMN weight_grams integer NOT NULL DEFAULT 500,
            ADD COLUMN withdrawn boolean NOT NULL DEFAULT false;
        ALTER TABLE stock
            ADD COLUMN returned bigint NOT NULL DEFAULT 0,
            ADD COLUMN withdrawn boolean NOT NULL DEFAULT false,
            ADD COLUMN low boolean NOT NULL DEFAULT false,
            ADD CONSTRAINT no_more_came_back_than_left CHECK (returned <= committed) NOT VALID;

        CREATE TABLE returns (
            order_id uuid NOT NULL,
            id uuid NOT NULL,
            lines jsonb NOT NULL,
            PRIMARY KEY (order_id, id)
        );

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
        """
    )
