"""The relay: publishes outbox rows in order per key and then deletes them. Pattern: *Transactional Outbox*.

A relay owns shards of the outbox by session advisory locks, which die with its connection; several relays take equal
parts. No cursor is kept: a row is there until the broker has it, so a transaction that commits late is not skipped.
"""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

import asyncpg

from chassis.brokers.port import Broker, BrokerUnavailable
from chassis.database.errors import is_transient
from chassis.database.pool import OUTBOX_CHANNEL, Database
from chassis.database.sql import SHARDS
from chassis.message import Envelope
from chassis.resilience.backoff import Backoff, wait_for_any
from chassis.telemetry import metrics
from chassis.telemetry.outage import Outage

logger = logging.getLogger(__name__)
LOCKS = 0x0B0C  # the class of the advisory locks; objects 0 to SHARDS-1 are shards, SHARDS says "a relay is here"
BATCH = 500
POLL_SECONDS = (
    5  # how late a row is found whose wake-up was lost, and how soon the shards of a dead relay are taken over
)

_columns = ", ".join(Envelope.__slots__)
_select = f"SELECT position, {_columns} FROM outbox WHERE shard = ANY($1) ORDER BY position LIMIT $2"
_delete = "DELETE FROM outbox WHERE position = ANY($1)"
_move = f"""
WITH gone AS (DELETE FROM outbox WHERE position = ANY($1) RETURNING *)
INSERT INTO outbox_history (position, shard, {_columns}) SELECT position, shard, {_columns} FROM gone
"""
_relays = f"""
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND classid = {LOCKS} AND objid = {SHARDS} AND granted
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Relay:
    """Publishes what the service's transactions wrote."""

    def __init__(self, database: Database[Any], broker: Broker, keep_history: bool) -> None:
        self.outage = Outage("the broker or the database of the relay", logger)
        self._database, self._broker = database, broker
        self._finish = _move if keep_history else _delete
        self._woken = asyncio.Event()
        self._owned: set[int] = set()
        database.wake_relay = self._wake

    def _wake(self) -> bool:
        """True if this relay owns all shards, so that no other relay has to be notified."""
        self._woken.set()
        return len(self._owned) == SHARDS

    async def run(self, stop: asyncio.Event) -> None:
        backoff = Backoff()
        while not stop.is_set():
            connection = None
            try:
                connection = await self._database.connect()
                await self._relay(connection, stop, backoff)
            except Exception as error:
                if not (is_transient(error) or isinstance(error, BrokerUnavailable)):
                    raise
                self.outage.begin(error)
                await backoff.pause(stop)
            finally:
                self._owned.clear()
                if connection is not None:
                    connection.terminate()

    async def _relay(self, connection: "asyncpg.Connection[Any]", stop: asyncio.Event, backoff: Backoff) -> None:
        await connection.add_listener(OUTBOX_CHANNEL, lambda *_: self._woken.set())
        await connection.execute(f"SELECT pg_advisory_lock_shared({LOCKS}, {SHARDS})")
        loop = asyncio.get_running_loop()
        poll_at = loop.time()
        stopping = False
        while not stopping:
            stopping = stop.is_set()  # read first, so that messages committed before the stop leave in this round
            if loop.time() >= poll_at:
                await self._take_share(connection)
                poll_at = loop.time() + POLL_SECONDS
            self._woken.clear()
            count = await self._publish(connection)
            self.outage.end()
            backoff.reset()
            if count < BATCH:
                await wait_for_any(poll_at - loop.time(), self._woken, stop)

    async def _take_share(self, connection: "asyncpg.Connection[Any]") -> None:
        relays = await connection.fetchval(_relays)
        share = -(-SHARDS // relays)
        for shard in sorted(self._owned)[share:]:
            await connection.execute(f"SELECT pg_advisory_unlock({LOCKS}, {shard})")
            self._owned.discard(shard)
        for shard in range(SHARDS):
            if len(self._owned) >= share:
                break
            if shard not in self._owned and await connection.fetchval(f"SELECT pg_try_advisory_lock({LOCKS}, {shard})"):
                self._owned.add(shard)

    async def _publish(self, connection: "asyncpg.Connection[Any]") -> int:
        rows = await connection.fetch(_select, list(self._owned), BATCH)
        if not rows:
            return 0
        await self._broker.publish([Envelope(*row[1:]) for row in rows])
        await connection.execute(self._finish, [row["position"] for row in rows])
        metrics.published.labels(self._database.service).inc(len(rows))
        metrics.outbox_age.labels(self._database.service).set((datetime.now(UTC) - rows[0]["time"]).total_seconds())
        return len(rows)
