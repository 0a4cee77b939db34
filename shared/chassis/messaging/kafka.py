"""The broker port on Apache Kafka."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, for_code
from aiokafka.partitioner import DefaultPartitioner

from chassis.messaging.broker import BrokerUnavailable
from chassis.messaging.message import Envelope

PARTITIONS = 4
RETENTION_MS = 7 * 24 * 3600 * 1000
PUBLISH_SECONDS = 10  # aiokafka itself would try for ever
REBALANCE_SECONDS = 8  # below the session time-out: a batch that takes longer is redelivered to the next owner


class KafkaBroker:
    """An idempotent producer with `acks=all`, and consumers that acknowledge by committing their position."""

    def __init__(self, bootstrap_servers: str, client_id: str, replicas: int = 1) -> None:
        self._servers = bootstrap_servers
        self._replicas = replicas
        self._client_id = client_id
        self._producer: AIOKafkaProducer | None = None
        self._partition = DefaultPartitioner()
        self._known_topics: set[str] = set()

    async def publish(self, envelopes: Sequence[Envelope]) -> None:
        """Write one record batch per partition at a time, so that a failed one is never overtaken by a later one."""
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self._publish(envelopes)
        except (TimeoutError, KafkaError, OSError) as error:
            await self._drop_producer()
            raise BrokerUnavailable(f"Kafka at {self._servers}: {error!r}") from error

    async def _publish(self, envelopes: Sequence[Envelope]) -> None:
        await self._ensure_topics({envelope.topic for envelope in envelopes})
        producer = self._producer = self._producer or await self._started_producer()
        partitions: dict[tuple[str, int], list[Envelope]] = defaultdict(list)
        for envelope in envelopes:
            numbers = sorted(await producer.partitions_for(envelope.topic))
            number = self._partition(envelope.key.encode(), numbers, numbers)
            partitions[envelope.topic, number].append(envelope)
        writes = [self._write(producer, *place, batch) for place, batch in partitions.items()]
        failures = [it for it in await asyncio.gather(*writes, return_exceptions=True) if it is not None]
        if failures:
            raise failures[0]

    async def _write(self, producer: AIOKafkaProducer, topic: str, partition: int, envelopes: list[Envelope]) -> None:
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
        """After a failure: what is left in a producer's buffer must not be sent behind the relay's back."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await asyncio.wait({asyncio.create_task(producer.stop())}, timeout=5)

    async def _ensure_topics(self, topics: Iterable[str]) -> None:
        missing = set(topics) - self._known_topics
        if not missing:
            return
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers, client_id=self._client_id)
        try:
            await admin.start()
            config = {"retention.ms": str(RETENTION_MS)}
            answer = await admin.create_topics(
                [
                    NewTopic(topic, PARTITIONS, replication_factor=self._replicas, topic_configs=config)
                    for topic in sorted(missing)
                ]
            )
        finally:
            await admin.close()
        for topic, code, *_ in answer.topic_errors:
            error = for_code(code)
            if error.__name__ not in ("NoError", "TopicAlreadyExistsError"):
                raise BrokerUnavailable(f"Kafka would not create the topic {topic}: {error.__name__}")
        self._known_topics |= missing

    async def subscribe(self, topics: Sequence[str], group: str) -> "KafkaSubscription":
        try:
            await self._ensure_topics(topics)
            subscription = KafkaSubscription(self._servers, self._client_id, group)
            await subscription.join(topics)
        except (KafkaError, OSError) as error:
            raise BrokerUnavailable(f"Kafka at {self._servers}: {error!r}") from error
        return subscription

    async def close(self) -> None:
        await self._drop_producer()


class KafkaSubscription(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """A consumer whose running batch is finished before its partitions are given away."""

    def __init__(self, servers: str, client_id: str, group: str) -> None:
        self._idle = asyncio.Event()
        self._idle.set()
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=servers,
            client_id=client_id,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=10_000,
            heartbeat_interval_ms=3_000,
            max_poll_interval_ms=24 * 3600 * 1000,  # a consumer that waits for its database stays in the group
            fetch_max_wait_ms=5_000,  # an idle consumer asks rarely; a message is delivered at once all the same
            fetch_max_bytes=4 * 1024 * 1024,
        )

    async def join(self, topics: Sequence[str]) -> None:
        self._consumer.subscribe(topics=list(topics), listener=self)
        try:
            await self._consumer.start()
        except BaseException:
            await self._consumer.stop()
            raise

    async def receive(self, limit: int) -> list[Envelope]:
        records: list[Any] = []
        while not records:
            try:
                fetched = await self._consumer.getmany(timeout_ms=3_600_000, max_records=limit)
            except (KafkaError, OSError) as error:
                raise BrokerUnavailable(repr(error)) from error
            records = [record for partition in fetched.values() for record in partition]
        self._idle.clear()
        return [
            Envelope.read(
                record.topic, (record.key or b"").decode(errors="replace"), record.headers, record.value or b""
            )
            for record in records
        ]

    async def acknowledge(self) -> None:
        try:
            await self._consumer.commit()
        except (CommitFailedError, IllegalStateError):
            pass  # the partitions have moved; their next owner meets the inbox
        except (KafkaError, OSError) as error:
            raise BrokerUnavailable(repr(error)) from error
        finally:
            self._idle.set()

    async def close(self) -> None:
        self._idle.set()
        await self._consumer.stop()

    async def on_partitions_revoked(self, revoked: Any) -> None:
        with suppress(TimeoutError):  # a batch that takes longer goes on; its next owner meets the inbox
            await asyncio.wait_for(self._idle.wait(), REBALANCE_SECONDS)

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Reading goes on where the group has committed."""
