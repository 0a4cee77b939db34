"""The hand-written path: the chassis' statements and sends, with asyncpg and the broker's own client alone."""

import asyncio
import json
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID, uuid4

import asyncpg

from chassis.database import new_id
from loadtests.clients import CLIENTS, SEND_BATCH, Record
from loadtests.messaging.paths import PathSettings
from loadtests.messaging.service import NOTE, WEIGHT_G, ParcelHandedOver, handled

WRITERS = 4  # connections of the producers
_COLUMNS = "topic, key, id, type, source, time, body, correlation_id, causation_id, traceparent"
_TYPES = ["text", "text", "uuid", "text", "text", "timestamptz", "bytea", "text", "text", "text"]
_SEND = f"""
INSERT INTO outbox (shard, {_COLUMNS})
SELECT 0, {_COLUMNS} FROM unnest({", ".join(f"${n}::{type_}[]" for n, type_ in enumerate(_TYPES, 1))}) it ({_COLUMNS})
"""
_WAITING = f"SELECT position, {_COLUMNS} FROM outbox ORDER BY position LIMIT {SEND_BATCH}"
_PUBLISHED = f"""
WITH gone AS (DELETE FROM outbox WHERE position = ANY($1) RETURNING *)
INSERT INTO outbox_history (position, shard, {_COLUMNS}) SELECT position, shard, {_COLUMNS} FROM gone
"""
_INBOX = """
INSERT INTO inbox (consumer_group, id) SELECT $1, unnest($2::uuid[]) ON CONFLICT DO NOTHING RETURNING id
"""
_HANDLE = "INSERT INTO parcels (id, weight_g) SELECT * FROM unnest($1::uuid[], $2::bigint[])"


class ClientPath:
    """The broker's client alone: no outbox, no inbox, no database."""

    writes = False

    def __init__(self, settings: PathSettings) -> None:
        self.settings, self.topic = settings, f"hand-written-{uuid4().hex[:8]}"
        self.client = CLIENTS[settings.broker](settings.address)

    async def __aenter__(self) -> Self:
        await self.client.create([self.topic])
        await self.client.subscribe([self.topic], self.topic)
        self._tasks = [asyncio.create_task(it) for it in await self.coroutines()]
        return self

    async def coroutines(self) -> list[Coroutine[Any, Any, None]]:
        return [self._consume()]

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self.client.close()

    async def produce(self, count: int) -> None:
        id = str(uuid4())
        await self.client.send([Record(self.topic, str(uuid4()), {"id": id}, _body(uuid4())) for _ in range(count)])

    async def _consume(self) -> None:
        while True:
            records = await self.client.receive(self.settings.batch)
            await self.handle(records)
            await self.client.acknowledge()

    async def handle(self, records: Sequence[Record]) -> None:
        handled.add(len(records))


class HandWrittenPath(ClientPath):
    """Outbox, relay, inbox, and a row for each message."""

    writes = True

    async def coroutines(self) -> list[Coroutine[Any, Any, None]]:
        url = self.settings.database_url
        self._written = asyncio.Event()
        self._writers = await asyncpg.create_pool(url, min_size=WRITERS, max_size=WRITERS)
        self._consumes, self._relays = await asyncpg.connect(url), await asyncpg.connect(url)
        return [*await super().coroutines(), self._relay()]

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        for opened in (self._writers, self._consumes, self._relays):
            await opened.close()

    async def produce(self, count: int) -> None:
        now = datetime.now(UTC)
        rows = [_outbox_row(self.topic, new_id(), new_id(), now) for _ in range(count)]
        async with self._writers.acquire() as connection, connection.transaction():
            await connection.execute(_SEND, *zip(*rows, strict=True))
        self._written.set()

    async def _relay(self) -> None:
        while True:
            await self._written.wait()
            self._written.clear()
            while rows := await self._relays.fetch(_WAITING):
                await self.client.send([_record(row) for row in rows])
                await self._relays.execute(_PUBLISHED, [row["position"] for row in rows])

    async def handle(self, records: Sequence[Record]) -> None:
        connection = self._consumes
        async with connection.transaction():
            ids = [UUID(record.headers["ce_id"]) for record in records]
            new = {row["id"] for row in await connection.fetch(_INBOX, self.topic, ids)}
            parcels = [json.loads(it.body) for id, it in zip(ids, records, strict=True) if id in new]
            await connection.execute(
                _HANDLE, [UUID(it["parcel_id"]) for it in parcels], [it["weight_g"] for it in parcels]
            )
        handled.add(len(parcels))


def _body(parcel_id: UUID) -> bytes:
    return json.dumps({"parcel_id": str(parcel_id), "weight_g": WEIGHT_G, "note": NOTE}).encode()


def _outbox_row(topic: str, id: UUID, parcel_id: UUID, now: datetime) -> tuple[Any, ...]:
    return topic, str(parcel_id), id, ParcelHandedOver.wire_type, "parcels", now, _body(parcel_id), str(id), None, None


def _record(row: Any) -> Record:
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(row["id"]),
        "ce_type": row["type"],
        "ce_source": row["source"],
        "ce_subject": row["key"],
        "ce_time": row["time"].isoformat(),
        "content-type": "application/json",
        "ce_correlationid": row["correlation_id"],
    }
    return Record(row["topic"], row["key"], headers, row["body"])
