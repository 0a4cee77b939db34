"""Refunds, the books, and what reconciliation remembers."""

from chassis.database import schema

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    schema.script(
        """
        ALTER TABLE payments
            ADD COLUMN asked_back_cents bigint NOT NULL DEFAULT 0,
            ADD COLUMN reconciled boolean NOT NULL DEFAULT false;
        ALTER TABLE attempts ADD COLUMN refund_id uuid;

        CREATE TABLE refunds (
            order_id uuid NOT NULL,
            id uuid NOT NULL,
            amount_cents bigint NOT NULL,
            state varchar NOT NULL,
            reason varchar,
            PRIMARY KEY (order_id, id)
        );

        CREATE TABLE entries (
            id uuid PRIMARY KEY,
            order_id uuid NOT NULL REFERENCES payments,
            at timestamptz NOT NULL,
            debit varchar NOT NULL,
            credit varchar NOT NULL,
            amount_cents bigint NOT NULL CHECK (amount_cents > 0),
            CHECK (debit <> credit)
        );
        CREATE INDEX ix_entries_order_id ON entries (order_id);
        CREATE FUNCTION entries_are_final() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION 'an entry is final, post another one'; END $$;
        CREATE TRIGGER entries_are_final BEFORE UPDATE OR DELETE ON entries
            FOR EACH ROW EXECUTE FUNCTION entries_are_final();

        CREATE TABLE balances (
            account varchar PRIMARY KEY,
            cents bigint NOT NULL,
            closed_id uuid NOT NULL
        );

        CREATE TABLE reconciliations (
            id integer PRIMARY KEY CHECK (id = 1),
            position bigint NOT NULL,
            at timestamptz NOT NULL
        );

        CREATE TABLE discrepancies (
            provider_id varchar PRIMARY KEY,
            reference varchar NOT NULL,
            kind varchar NOT NULL,
            found_at timestamptz NOT NULL,
            our_held_cents bigint NOT NULL,
            our_captured_cents bigint NOT NULL,
            their_held_cents bigint NOT NULL,
            their_captured_cents bigint NOT NULL
        );
        """
    )
    schema.index_concurrently("ix_payments_unreconciled", "payments (order_id) WHERE NOT reconciled")
