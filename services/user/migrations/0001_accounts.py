"""Accounts, addresses, refresh tokens, signing keys."""

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

        CREATE TABLE signing_keys (
            kid varchar PRIMARY KEY,
            jwk jsonb NOT NULL,
            created_at timestamptz NOT NULL
        );
        """
    )
