"""The brokers' own clients, used without the chassis: no broker port, no envelope, no retries.

`send` returns when all records are stored, in order per key. `receive` waits for the first record and returns those
that have arrived. `acknowledge` acknowledges all records of the last `receive`.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import pulsar.asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pulsar import ConsumerType, InitialPosition

PARTITIONS = 4
SEND_BATCH = 500  # records that a producer gets before its acknowledgements are awaited
_quiet = logging.getLogger("pulsar")
for _logger in (_quiet, logging.getLogger("aiokafka")):
    _logger.setLevel(logging.CRITICAL)  # they log every attempt


class Record(NamedTuple):
    topic: str
    key: str
    headers: dict[str, str]
    body: bytes


class Client(Protocol):
    """A producer, and after `subscribe` a consumer, too."""

    def __init__(self, address: str) -> None: ...
    async def create(self, topics: Sequence[str]) -> None: ...
    async def send(self, records: Sequence[Record]) -> None: ...
    async def subscribe(self, topics: Sequence[str], group: str) -> None: ...
    async def receive(self, limit: int) -> list[Record]: ...
    async def acknowledge(self) -> None: ...
    async def close(self) -> None: ...


class KafkaClient:
    """aiokafka: an idempotent producer, and a consumer without automatic commits."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._producer: AIOKafkaProducer | None = None
        self._consumer: AIOKafkaConsumer | None = None

    async def create(self, topics: Sequence[str]) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._address)
        await admin.start()
        try:
            answer = await admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in topics])
        finally:
            await admin.close()
        if failed := [error for error in answer.topic_errors if error[1]]:
            raise RuntimeError(f"Kafka did not create the topics: {failed}")

    async def send(self, records: Sequence[Record]) -> None:
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                bootstrap_servers=self._address, enable_idempotence=True, acks="all", max_batch_size=512 * 1024
            )
            await self._producer.start()
        await asyncio.gather(*[await self._sent(self._producer, record) for record in records])

    async def _sent(self, producer: AIOKafkaProducer, record: Record) -> "asyncio.Future[Any]":
        headers = [(name, value.encode()) for name, value in record.headers.items()]
        sent: asyncio.Future[Any] = await producer.send(
            record.topic, key=record.key.encode(), value=record.body, headers=headers
        )
        return sent

    async def subscribe(self, topics: Sequence[str], group: str) -> None:
        self._consumer = AIOKafkaConsumer(
            *topics,
            bootstrap_servers=self._address,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=5_000,
        )
        await self._consumer.start()

    async def receive(self, limit: int) -> list[Record]:
        assert self._consumer is not None
        fetched = await self._consumer.getmany(timeout_ms=3_600_000, max_records=limit)
        return [
            Record(it.topic, it.key.decode(), {name: value.decode() for name, value in it.headers}, it.value)
            for records in fetched.values()
            for it in records
        ]

    async def acknowledge(self) -> None:
        assert self._consumer is not None
        await self._consumer.commit()

    async def close(self) -> None:
        for opened in (self._producer, self._consumer):
            if opened is not None:
                await opened.stop()


class PulsarClient:
    """pulsar-client: a producer without batches, and a Key_Shared subscription."""

    def __init__(self, address: str) -> None:
        self._client = pulsar.asyncio.Client(address, logger=_quiet)
        self._producers: dict[str, pulsar.asyncio.Producer] = {}
        self._consumer: pulsar.asyncio.Consumer | None = None
        self._next: asyncio.Future[pulsar.Message] | None = None  # a cancelled `receive` would lose a message
        self._received: list[pulsar.Message] = []

    async def create(self, topics: Sequence[str]) -> None:
        """Pulsar creates topics at their first use."""

    async def send(self, records: Sequence[Record]) -> None:
        for topic in {record.topic for record in records} - self._producers.keys():
            self._producers[topic] = await self._client.create_producer(
                topic,
                send_timeout_millis=0,
                max_pending_messages=2 * SEND_BATCH,
                batching_enabled=False,
            )
        await asyncio.gather(
            *(self._producers[it.topic].send(it.body, properties=it.headers, partition_key=it.key) for it in records)
        )

    async def subscribe(self, topics: Sequence[str], group: str) -> None:
        self._consumer = await self._client.subscribe(
            list(topics),
            group,
            consumer_type=ConsumerType.KeyShared,
            initial_position=InitialPosition.Earliest,
        )

    async def receive(self, limit: int) -> list[Record]:
        assert self._consumer is not None
        while len(self._received) < limit:
            self._next = self._next or asyncio.ensure_future(self._consumer.receive())
            await asyncio.wait({self._next}, timeout=0.001 if self._received else None)
            if not self._next.done():
                break
            self._received.append(self._next.result())
            self._next = None
        return [
            Record(it.topic_name().rpartition("/")[2], it.partition_key(), it.properties(), it.data())
            for it in self._received
        ]

    async def acknowledge(self) -> None:
        assert self._consumer is not None
        await asyncio.gather(*map(self._consumer.acknowledge, self._received))
        self._received = []

    async def close(self) -> None:
        await self._client.close()
        if self._next is not None:
            await asyncio.wait({self._next})
            self._next.exception()  # the error that the client was closed


class MemoryClient:
    """A queue in this process."""

    def __init__(self, address: str) -> None:
        self._queue: asyncio.Queue[Record] = asyncio.Queue()

    async def create(self, topics: Sequence[str]) -> None: ...

    async def send(self, records: Sequence[Record]) -> None:
        for record in records:
            self._queue.put_nowait(record)

    async def subscribe(self, topics: Sequence[str], group: str) -> None: ...

    async def receive(self, limit: int) -> list[Record]:
        received = [await self._queue.get()]
        while len(received) < limit and not self._queue.empty():
            received.append(self._queue.get_nowait())
        return received

    async def acknowledge(self) -> None: ...

    async def close(self) -> None: ...


CLIENTS: dict[str, type[Client]] = {"memory": MemoryClient, "kafka": KafkaClient, "pulsar": PulsarClient}
