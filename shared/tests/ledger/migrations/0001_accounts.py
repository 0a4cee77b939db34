"""Accounts and notes. That no balance is negative is found out only by the commit."""

from chassis.database.schema import script

revision = "0001"
down_revision = None


def upgrade() -> None:
    script("""
        CREATE TABLE accounts (
            id varchar PRIMARY KEY,
            balance bigint NOT NULL,
            history jsonb NOT NULL,
            statement varchar,
            interest_at timestamptz,
            statement_at timestamptz,
            causation jsonb
        );
        CREATE TABLE notes (
            account varchar NOT NULL,
            number integer NOT NULL,
            text varchar,
            data jsonb,
            PRIMARY KEY (account, number)
        );
        CREATE FUNCTION refuse_debt() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'no debt' USING ERRCODE = 'check_violation'; END $$;
        CREATE CONSTRAINT TRIGGER no_debt AFTER INSERT OR UPDATE ON accounts DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (NEW.balance < 0) EXECUTE FUNCTION refuse_debt();
    """)
