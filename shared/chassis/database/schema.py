"""The chassis' own tables in every service's database, called by the service's first migration."""

from typing import Any

from alembic import op
from sqlalchemy import text

VERSION_1 = """
CREATE TABLE outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shard smallint NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    id uuid NOT NULL,
    type text NOT NULL,
    source text NOT NULL,
    time timestamptz NOT NULL,
    body bytea NOT NULL,
    correlation_id text NOT NULL,
    causation_id text,
    traceparent text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE outbox_history (LIKE outbox, published_at timestamptz NOT NULL DEFAULT now())
    PARTITION BY RANGE (published_at);
CREATE TABLE outbox_history_rest PARTITION OF outbox_history DEFAULT;
CREATE INDEX ON outbox_history (key, position);

CREATE TABLE inbox (
    consumer_group text NOT NULL,
    id uuid NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, id)
);
CREATE INDEX ON inbox USING brin (received_at);

CREATE TABLE parked_keys (
    consumer_group text NOT NULL,
    key text NOT NULL,
    PRIMARY KEY (consumer_group, key)
);
CREATE TABLE parked_messages (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer_group text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    id uuid NOT NULL,
    type text NOT NULL,
    source text NOT NULL,
    time timestamptz NOT NULL,
    body bytea NOT NULL,
    correlation_id text NOT NULL,
    causation_id text,
    traceparent text,
    reason text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (consumer_group, key) REFERENCES parked_keys
);
CREATE INDEX ON parked_messages (consumer_group, key, position);

CREATE TABLE idempotency_keys (
    caller text NOT NULL,
    key text NOT NULL,
    body_hash bytea NOT NULL,
    status int,
    headers jsonb,
    answer bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, key)
);
CREATE INDEX ON idempotency_keys USING brin (created_at);
"""


def upgrade_v1() -> None:
    """Outbox with history, inbox, parked messages, idempotency keys."""
    script(VERSION_1)


_PARTITIONS = """
SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'outbox_history'::regclass
"""


def upgrade_v2() -> None:
    """Published messages are found by their correlation, and by when they were published: for traces and the tail.

    In a database that is in use it is a revision of its own: partitions with rows get their index outside of it.
    """
    context = op.get_context()
    partitions = ["outbox_history_rest"]  # the one that is known when there is no database to ask
    if not context.as_sql:
        database = op.get_bind()
        found = database.scalars(text(_PARTITIONS)).all()
        partitions = [it for it in found if database.scalar(text(f"SELECT EXISTS (SELECT FROM {it})"))]
    for column in ("correlation_id", "published_at"):
        for partition in partitions:
            index_concurrently(f"{partition}_by_{column}", f"{partition} ({column})")
        op.execute(
            "-- squawk-ignore require-concurrent-index-creation\n"  # it takes in those, and the others are empty
            f"CREATE INDEX outbox_history_by_{column} ON outbox_history ({column})"
        )


def script(sql: str) -> None:
    """Run statements one by one, as the driver wants it; each ends with a semicolon at the end of a line."""
    for statement in sql.split(";\n"):
        if statement.strip():
            op.execute(statement)


LOCK_TIMEOUT = "SET lock_timeout = '3s'"  # a migration that waits for a lock makes everybody behind it wait too


def index_concurrently(name: str, on: str, *, unique: bool = False) -> None:
    """Build an index while its table is in use, outside any transaction, or build anew what was broken off.

    `index_concurrently("carts_expires_at", "carts (expires_at)")`.
    """
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # it waits for others, and nobody for it
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY {name} ON {on}")
        op.execute(LOCK_TIMEOUT)


TABLES = {
    "outbox",
    "outbox_history",
    "outbox_history_rest",
    "inbox",
    "parked_keys",
    "parked_messages",
    "idempotency_keys",
}


def include(_: Any, name: str | None, kind: str, reflected: bool, __: Any) -> bool:
    """For Alembic: leave the chassis' own tables out of comparisons."""
    return not (kind == "table" and reflected and (name in TABLES or str(name).startswith("outbox_history")))
