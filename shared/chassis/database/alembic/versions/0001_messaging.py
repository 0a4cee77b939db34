"""The chassis' own tables: outbox and its history, inbox, dead letters, idempotency keys."""

from chassis.database.schema import script

revision, down_revision = "chassis_0001", None
branch_labels = ("chassis",)

TABLES = """
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
CREATE INDEX outbox_history_by_key ON outbox_history (key, position);
CREATE INDEX outbox_history_by_correlation_id ON outbox_history (correlation_id);
CREATE INDEX outbox_history_by_published_at ON outbox_history (published_at);

CREATE TABLE inbox (
    consumer_group text NOT NULL,
    id uuid NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, id)
);
CREATE INDEX ON inbox USING brin (received_at);

CREATE TABLE dead_letter_keys (
    consumer_group text NOT NULL,
    key text NOT NULL,
    PRIMARY KEY (consumer_group, key)
);
CREATE TABLE dead_letters (
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
    dead_lettered_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (consumer_group, key) REFERENCES dead_letter_keys
);
CREATE INDEX ON dead_letters (consumer_group, key, position);

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


def upgrade() -> None:
    script(TABLES)
