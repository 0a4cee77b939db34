"""Retention (pruning): old rows of the inbox, of idempotency keys and of published messages are deleted.

Published messages are a partitioned history, a partition for each day, so that a day goes by dropping a table.
"""

from datetime import timedelta
from typing import Any

from chassis.brokers.port import RETENTION
from chassis.database.pool import Database
from chassis.database.unit_of_work import UnitOfWork

CHUNK = 5000
INBOX_DAYS = RETENTION.days + 1  # a group may be rewound as far as the broker keeps messages
ANSWERS_HOURS = 24
HISTORY_DAYS = 7

_old = {
    "inbox": f"received_at < now() - interval '{INBOX_DAYS} days'",
    "idempotency_keys": f"created_at < now() - interval '{ANSWERS_HOURS} hours'",
}


async def prune(database: Database[Any]) -> None:
    """Delete old rows in chunks, and keep a partition of published messages per day."""
    async with database.work() as work:
        await _keep_partitions(work)
    for table, old in _old.items():
        deleted = CHUNK
        while deleted == CHUNK:
            async with database.work() as work:
                chunk = f"SELECT ctid FROM {table} WHERE {old} LIMIT {CHUNK}"
                deleted = len(await work.execute(f"DELETE FROM {table} WHERE ctid = ANY(ARRAY({chunk})) RETURNING 1"))


async def _keep_partitions(work: UnitOfWork[Any]) -> None:
    await work.execute("SELECT pg_advisory_xact_lock(11)")
    names = [
        row["name"]
        for row in await work.read(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'outbox_history'::regclass"
        )
    ]
    for ahead in (1, 2):  # today's partition was made yesterday; if it was not, rows go to the default partition
        day = (work.now + timedelta(days=ahead)).date()
        name = f"outbox_history_{day:%Y%m%d}"
        if name not in names:
            until = day + timedelta(days=1)
            await work.execute(
                f"CREATE TABLE {name} PARTITION OF outbox_history FOR VALUES FROM ('{day}') TO ('{until}')"
            )
    oldest = f"outbox_history_{(work.now - timedelta(days=HISTORY_DAYS)).date():%Y%m%d}"
    for name in names:
        if name != "outbox_history_rest" and name < oldest:
            await work.execute(f"DROP TABLE {name}")
    await work.execute(f"DELETE FROM outbox_history_rest WHERE published_at < now() - interval '{HISTORY_DAYS} days'")
