"""Password resets, wrong passwords, rotation of signing keys, erasures.

Waits for no long lock: the new tables are empty, and signing_keys has one row. That key, however old, rotates in a day
at the earliest: instances of the version before, which sign with whatever key is the newest, must be gone by then.
"""

from chassis.database.schema import script

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    script(
        """
        CREATE TABLE password_resets (
            id uuid PRIMARY KEY,
            account_id uuid REFERENCES accounts,
            used boolean NOT NULL,
            expires_at timestamptz NOT NULL
        );
        CREATE INDEX ix_password_resets_account_id ON password_resets (account_id);
        CREATE INDEX ix_password_resets_expires_at ON password_resets (expires_at);

        CREATE TABLE wrong_passwords (
            digest varchar PRIMARY KEY,
            times integer NOT NULL,
            ends_at timestamptz NOT NULL
        );
        CREATE INDEX ix_wrong_passwords_ends_at ON wrong_passwords (ends_at);

        ALTER TABLE signing_keys
            ADD COLUMN signs_from timestamptz NOT NULL DEFAULT now(),
            ADD COLUMN rotates_at timestamptz DEFAULT now() + interval '30 days',
            ADD COLUMN retired_at timestamptz,
            ADD COLUMN published_until timestamptz;
        UPDATE signing_keys SET
            signs_from = created_at,
            rotates_at = greatest(created_at + interval '30 days', now() + interval '1 day');

        CREATE TABLE erasures (
            id uuid PRIMARY KEY,
            user_id uuid NOT NULL UNIQUE,
            asked_at timestamptz NOT NULL,
            done_at timestamptz,
            waiting_for jsonb NOT NULL,
            reports jsonb NOT NULL,
            due_at timestamptz NOT NULL
        );
        CREATE INDEX ix_erasures_due_at ON erasures (due_at);
        CREATE INDEX ix_erasures_open ON erasures (asked_at) WHERE done_at IS NULL;
        """
    )
