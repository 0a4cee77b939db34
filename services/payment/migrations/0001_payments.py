"""Payments, the requests to the provider, refunds, the books, and what reconciliation remembers."""

from chassis.database import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema.script(
        """
        CREATE TABLE payments (
            order_id uuid PRIMARY KEY,
            amount_cents bigint NOT NULL CHECK (amount_cents >= 0),
            currency varchar NOT NULL,
            state varchar NOT NULL,
            reason varchar,
            provider_id varchar,
            void_pending boolean NOT NULL,
            refund_requested_cents bigint NOT NULL DEFAULT 0,
            reconciled boolean NOT NULL DEFAULT false
        );
        CREATE INDEX ix_payments_unreconciled ON payments (order_id) WHERE NOT reconciled;

        CREATE TABLE attempts (
            id uuid PRIMARY KEY,
            order_id uuid NOT NULL REFERENCES payments,
            kind varchar NOT NULL,
            amount_cents bigint NOT NULL,
            currency varchar NOT NULL,
            payment_token varchar,
            provider_id varchar,
            refund_id uuid,
            outcome varchar,
            tries integer NOT NULL,
            due_at timestamptz,
            causation jsonb,
            CHECK ((outcome IS NULL) = (due_at IS NOT NULL))
        );
        CREATE INDEX ix_attempts_order_id ON attempts (order_id);
        CREATE INDEX ix_attempts_due_at ON attempts (due_at) WHERE due_at IS NOT NULL;

        CREATE TABLE refunds (
            order_id uuid NOT NULL,
            id uuid NOT NULL,
            amount_cents bigint NOT NULL,
            state varchar NOT NULL,
            reason varchar,
            PRIMARY KEY (order_id, id)
        );

        CREATE TABLE ledger_entries (
            id uuid PRIMARY KEY,
            order_id uuid NOT NULL REFERENCES payments,
            at timestamptz NOT NULL,
            debit varchar NOT NULL,
            credit varchar NOT NULL,
            amount_cents bigint NOT NULL CHECK (amount_cents > 0),
            CHECK (debit <> credit)
        );
        CREATE INDEX ix_ledger_entries_order_id ON ledger_entries (order_id);
        CREATE FUNCTION ledger_entries_are_final() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION 'an entry is final, post another one'; END $$;
        CREATE TRIGGER ledger_entries_are_final BEFORE UPDATE OR DELETE ON ledger_entries
            FOR EACH ROW EXECUTE FUNCTION ledger_entries_are_final();

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
