"""Mails and preferences."""

from chassis.database import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema.script(
        """
        CREATE TABLE mails (
            id uuid PRIMARY KEY,
            user_id uuid NOT NULL,
            cause_id uuid NOT NULL,
            template varchar NOT NULL,
            about uuid,
            amount_cents bigint,
            currency varchar,
            reason varchar,
            state varchar NOT NULL,
            drop_reason varchar,
            deferrals bigint NOT NULL,
            due_at timestamptz,
            requested_at timestamptz NOT NULL,
            finished_at timestamptz,
            causation jsonb,
            CONSTRAINT mails_cause UNIQUE (cause_id, user_id, template)
        );
        CREATE INDEX ix_mails_user_id ON mails (user_id);
        CREATE INDEX ix_mails_due_at ON mails (due_at) WHERE due_at IS NOT NULL;
        CREATE INDEX ix_mails_requested_at ON mails (requested_at);

        CREATE TABLE preferences (
            user_id uuid PRIMARY KEY,
            advertising boolean NOT NULL
        );
        """
    )
