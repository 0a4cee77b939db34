"""Publishing to Kafka, and the clients that manage topics and groups."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from chassis.brokers.kafka import group as groups
from chassis.brokers.kafka import topics as topic_admin
from chassis.brokers.kafka.group import GroupTimeouts, KafkaSubscription
from chassis.brokers.port import BrokerUnavailable, StartPosition
from chassis.message import Envelope

DEFAULT_TIMEOUTS = GroupTimeouts()
PUBLISH_SECONDS = 10  # aiokafka itself would try for ever
ASK_SECONDS = 10
JOIN_SECONDS = 30  # longer than the longest rebalance


class KafkaBroker:
    """An idempotent producer with `acks=all`, and consumers that acknowledge by committing their position."""

    def __init__(
        self,
        bootstrap_servers: str,
        client_id: str,
        partitions: int = 4,
        replicas: int = 1,
        timeouts: GroupTimeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self._servers, self._client_id, self._timeouts = bootstrap_servers, client_id, timeouts
        self._partitions, self._replicas = partitions, replicas
        self._producer: AIOKafkaProducer | None = None
        self._partition = DefaultPartitioner()
        self._prepared: set[str] = set()

    async def ensure_topics(self, topics: Sequence[str]) -> None:
        missing = sorted(set(topics) - self._prepared)
        if missing:
            async with self._within(ASK_SECONDS), self._admin() as admin:
                await topic_admin.ensure_topics(admin, missing, self._partitions, self._replicas)
            self._prepared.update(missing)

    async def publish(self, envelopes: Sequence[Envelope]) -> None:
        """Write one record batch per partition at a time, so that no batch overtakes one that failed."""
        await self.ensure_topics([envelope.topic for envelope in envelopes])
        try:
            async with self._within(PUBLISH_SECONDS):
                await self._publish(envelopes)
        except BrokerUnavailable:
            await self._drop_producer()
            raise

    async def _publish(self, envelopes: Sequence[Envelope]) -> None:
        producer = self._producer = self._producer or await self._started_producer()
        partitions: dict[tuple[str, int], list[Envelope]] = defaultdict(list)
        for envelope in envelopes:
            numbers = sorted(await producer.partitions_for(envelope.topic))
            number = self._partition(envelope.key.encode(), numbers, numbers)
            partitions[envelope.topic, number].append(envelope)
        writes = [_write(producer, *place, batch) for place, batch in partitions.items()]
        failures = [it for it in await asyncio.gather(*writes, return_exceptions=True) if it is not None]
        if failures:
            raise failures[0]

    async def _started_producer(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._servers,
            client_id=self._client_id,
            enable_idempotence=True,
            acks="all",
            request_timeout_ms=10_000,
            max_batch_size=512 * 1024,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    async def _drop_producer(self) -> None:
        """After a failure: buffered messages must not be sent later, since the relay publishes them again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await asyncio.wait({asyncio.create_task(_end(producer))}, timeout=5)

    async def subscribe(
        self, topics: Sequence[str], group: str, start: StartPosition = StartPosition.BEGINNING
    ) -> KafkaSubscription:
        await self.ensure_topics(topics)
        if start is StartPosition.NOW:
            async with self._within(ASK_SECONDS), self._admin() as admin, self._group_admin(group) as group_admin:
                await groups.begin_now(group_admin, await topic_admin.partitions_of(admin, topics))
        subscription = KafkaSubscription(self._servers, self._client_id, group, self._timeouts)
        async with self._within(JOIN_SECONDS):
            await subscription.join(topics)
        return subscription

    async def lag(self, topics: Sequence[str], group: str) -> dict[str, int]:
        async with self._within(ASK_SECONDS), self._admin() as admin, self._group_admin(group) as group_admin:
            found = await groups.lag(group_admin, await topic_admin.partitions_of(admin, topics))
        return {topic: found.get(topic, 0) for topic in topics}

    async def rewind(self, topics: Sequence[str], group: str, moment: datetime) -> None:
        await self.ensure_topics(topics)
        async with self._within(ASK_SECONDS), self._admin() as admin, self._group_admin(group) as group_admin:
            await groups.rewind(group_admin, await topic_admin.partitions_of(admin, topics), moment)

    async def close(self) -> None:
        await self._drop_producer()

    @asynccontextmanager
    async def _within(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except (TimeoutError, KafkaError, OSError) as error:
            raise BrokerUnavailable(f"Kafka at {self._servers}: {error!r}") from error

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers, client_id=self._client_id)
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()

    @asynccontextmanager
    async def _group_admin(self, group: str) -> AsyncIterator[AIOKafkaConsumer]:
        """A consumer that does not join the group: it reads and sets the positions of the group."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers, client_id=self._client_id, group_id=group, enable_auto_commit=False
        )
        try:
            await consumer.start()
            yield consumer
        finally:
            await consumer.stop()


async def _end(producer: AIOKafkaProducer) -> None:
    """`stop` alone would wait for the broker, and then send the messages in the buffer."""
    await producer._sender.close()
    await producer.stop()


async def _write(producer: AIOKafkaProducer, topic: str, partition: int, envelopes: list[Envelope]) -> None:
    batch = producer.create_batch()
    for envelope in envelopes:
        record: dict[str, Any] = {
            "key": envelope.key.encode(),
            "value": envelope.body,
            "timestamp": int(envelope.time.timestamp() * 1000),
            "headers": envelope.headers(),
        }
        if batch.append(**record) is None:  # full
            await (await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(**record)
    await (await producer.send_batch(batch, topic, partition=partition))
