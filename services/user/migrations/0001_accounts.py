"""Accounts with their addresses, sessions, password resets and erasures; failed sign-ins; signing keys."""

from chassis.database import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema.script(
        """
        CREATE TABLE accounts (
            id uuid PRIMARY KEY,
            email varchar NOT NULL UNIQUE CHECK (email = lower(email)),
            name varchar NOT NULL,
            password_hash varchar NOT NULL,
            roles jsonb NOT NULL,
            registered_at timestamptz NOT NULL
        );

        CREATE TABLE addresses (
            id uuid PRIMARY KEY,
            account_id uuid NOT NULL REFERENCES accounts,
            name varchar NOT NULL,
            street varchar NOT NULL,
            postcode varchar NOT NULL,
            city varchar NOT NULL,
            country varchar NOT NULL
        );
        CREATE INDEX ix_addresses_account_id ON addresses (account_id);

        CREATE TABLE refresh_tokens (
            digest varchar PRIMARY KEY,
            account_id uuid NOT NULL REFERENCES accounts,
            session_id uuid NOT NULL,
            used boolean NOT NULL,
            expires_at timestamptz NOT NULL
        );
        CREATE INDEX ix_refresh_tokens_account_id ON refresh_tokens (account_id);
        CREATE INDEX ix_refresh_tokens_session_id ON refresh_tokens (session_id);
        CREATE INDEX ix_refresh_tokens_expires_at ON refresh_tokens (expires_at);

        CREATE TABLE password_resets (
            id uuid PRIMARY KEY,
            account_id uuid REFERENCES accounts,
            used boolean NOT NULL,
            expires_at timestamptz NOT NULL
        );
        CREATE INDEX ix_password_resets_account_id ON password_resets (account_id);
        CREATE INDEX ix_password_resets_expires_at ON password_resets (expires_at);

        CREATE TABLE login_throttles (
            email_digest varchar PRIMARY KEY,
            failures integer NOT NULL,
            window_ends_at timestamptz NOT NULL
        );
        CREATE INDEX ix_login_throttles_window_ends_at ON login_throttles (window_ends_at);

        CREATE TABLE signing_keys (
            kid varchar PRIMARY KEY,
            jwk jsonb NOT NULL,
            created_at timestamptz NOT NULL,
            signs_from timestamptz NOT NULL,
            rotates_at timestamptz,
            retired_at timestamptz,
            published_until timestamptz
        );

        CREATE TABLE erasures (
            id uuid PRIMARY KEY,
            user_id uuid NOT NULL UNIQUE,
            requested_at timestamptz NOT NULL,
            completed_at timestamptz,
            waiting_for jsonb NOT NULL,
            reports jsonb NOT NULL,
            due_at timestamptz NOT NULL
        );
        CREATE INDEX ix_erasures_due_at ON erasures (due_at);
        CREATE INDEX ix_erasures_open ON erasures (requested_at) WHERE completed_at IS NULL;
        """
    )
