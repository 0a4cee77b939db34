"""Payments and attempts."""

from chassis.database import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema.upgrade_v1()
    schema.script(
        """
        CREATE TABLE payments (
            order_id uuid PRIMARY KEY,
            amount_cents bigint NOT NULL CHECK (amount_cents >= 0),
            currency varchar NOT NULL,
            state varchar NOT NULL,
            reason varchar,
            provider_id varchar,
            void_waits boolean NOT NULL
        );

        CREATE TABLE attempts (
            id uuid PRIMARY KEY,
            order_id uuid NOT NULL REFERENCES payments,
            kind varchar NOT NULL,
            amount_cents bigint NOT NULL,
            currency varchar NOT NULL,
            payment_token varchar,
            provider_id varchar,
            outcome varchar,
            tries integer NOT NULL,
            due_at timestamptz,
            cause jsonb,
            CHECK ((outcome IS NULL) = (due_at IS NOT NULL))
        );
        CREATE INDEX ix_attempts_order_id ON attempts (order_id);
        CREATE INDEX ix_attempts_due_at ON attempts (due_at) WHERE due_at IS NOT NULL;
        """
    )
