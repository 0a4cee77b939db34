"""What grows forever unless somebody takes it away: inbox, answers kept for idempotency, published messages."""

import asyncio
import logging
from datetime import timedelta

from chassis.brokers.port import RETENTION
from chassis.database.errors import RETRYABLE, is_transient
from chassis.database.pool import Database
from chassis.database.unit_of_work import UnitOfWork
from chassis.resilience.backoff import wait_for_any

logger = logging.getLogger(__name__)
EVERY_SECONDS = 3600
CHUNK = 5000
INBOX_DAYS = RETENTION.days + 1  # a group may be set back as far as the broker remembers
ANSWERS_HOURS = 24
HISTORY_DAYS = 7

_old = {
    "inbox": f"received_at < now() - interval '{INBOX_DAYS} days'",
    "idempotency_keys": f"created_at < now() - interval '{ANSWERS_HOURS} hours'",
}


async def prune_hourly(database: Database, stop: asyncio.Event) -> None:
    """Now and every hour until the service stops."""
    while not stop.is_set():
        try:
            await prune(database)
            await wait_for_any(EVERY_SECONDS, stop)
        except Exception as error:
            if not (is_transient(error) or isinstance(error, RETRYABLE)):
                raise
            await wait_for_any(60, stop)


async def prune(database: Database) -> None:
    """Delete old rows in chunks, and keep a partition of published messages per day."""
    async with database.work() as work:
        await _partitions(work)
    for table, old in _old.items():
        gone = CHUNK
        while gone == CHUNK:
            async with database.work() as work:
                some = f"SELECT ctid FROM {table} WHERE {old} LIMIT {CHUNK}"
                gone = len(await work.execute(f"DELETE FROM {table} WHERE ctid = ANY(ARRAY({some})) RETURNING 1"))


async def _partitions(work: UnitOfWork) -> None:
    await work.execute("SELECT pg_advisory_xact_lock(11)")
    names = [
        row["name"]
        for row in await work.read(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'outbox_history'::regclass"
        )
    ]
    for ahead in (1, 2):  # today's rows are in yesterday's making, or in the rest
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
