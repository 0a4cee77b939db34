"""What only Kafka has: topics that may be made differently, and partitions that move in the middle of a batch.

What it has in common with the others is in `tests/brokers`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from chassis.brokers.kafka import GroupTimeouts, KafkaBroker, group
from chassis.brokers.kafka import broker as publishing
from chassis.brokers.kafka.topics import CONFIG
from chassis.brokers.port import BrokerUnavailable, StartPosition, TopicMismatch
from chassis.message import Envelope
from chassis.messaging.consumer import Consumer
from ledger.waiting import until
from local.kafka import Kafka

pytestmark = pytest.mark.xdist_group("kafka")
QUICK = GroupTimeouts(heartbeat=0.3, session=3, rebalance=2, rollback=1)


@pytest.fixture
def topic() -> str:
    return f"t{uuid4().hex}.events"


@pytest.fixture
async def broker(kafka: Kafka) -> AsyncIterator[KafkaBroker]:
    broker = KafkaBroker(kafka.address, "test", timeouts=QUICK)
    yield broker
    await broker.close()


def envelopes(topic: str, count: int) -> list[Envelope]:
    """Each of a key of its own, so that all partitions have some."""
    now = datetime.now(UTC)
    return [Envelope(topic, str(id), id, "a.b.v1", "test", now, b"{}", "") for id in (uuid4() for _ in range(count))]


async def prepare(broker: KafkaBroker, topic: str) -> None:
    """Again and again, as a service does: a server knows of a topic a moment after it has been made."""
    while True:
        try:
            return await broker.ensure_topics([topic])
        except BrokerUnavailable:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("partitions", "config", "refusal"),
    [
        (4, {}, None),
        (6, {}, "partitions 6, not 4"),
        (4, {"retention.ms": "1000"}, "retention.ms 1000, not 604800000"),
        (4, {"cleanup.policy": "compact"}, "cleanup.policy compact, not delete"),
    ],
)
async def test_a_topic_that_is_there_is_taken_as_it_should_be_and_refused_otherwise(
    kafka: Kafka, broker: KafkaBroker, topic: str, partitions: int, config: dict[str, str], refusal: str | None
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=CONFIG | config)])
    await admin.close()
    if refusal is None:
        return await prepare(broker, topic)
    with pytest.raises(TopicMismatch) as refused:
        await prepare(broker, topic)
    assert topic in str(refused.value)
    assert refusal in str(refused.value)


async def test_a_topic_is_made_as_the_next_process_wants_it(kafka: Kafka, broker: KafkaBroker, topic: str) -> None:
    await broker.ensure_topics([topic])
    await prepare(KafkaBroker(kafka.address, "another"), topic)
    with pytest.raises(TopicMismatch, match="partitions 4, not 8"):
        await prepare(KafkaBroker(kafka.address, "another", partitions=8), topic)


@pytest.fixture
def revoked(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when a member has learned that its partitions are revoked."""
    told, revoke = asyncio.Event(), group.KafkaSubscription.on_partitions_revoked

    async def on_partitions_revoked(self: group.KafkaSubscription, partitions: Any) -> None:
        if partitions:
            told.set()
        await revoke(self, partitions)

    monkeypatch.setattr(group.KafkaSubscription, "on_partitions_revoked", on_partitions_revoked)
    return told


Log = list[tuple["HeldMember", str, Sequence[Envelope]]]


class HeldMember(Consumer):
    """Stays with a batch until it is set free, and notes in a log of all members how each ended."""

    def __init__(self, broker: KafkaBroker, topic: str, log: Log) -> None:
        topics = SimpleNamespace(topics=[topic], start=StartPosition.BEGINNING)
        super().__init__(cast(Any, SimpleNamespace(service=topic)), broker, cast(Any, topics), batch=100)
        self.log, self.free, self.busy = log, asyncio.Event(), False

    async def handle(self, batch: Sequence[Envelope]) -> None:
        self.busy, outcome = True, "undone"
        try:
            await self.free.wait()
            outcome = "done"
        finally:
            self.busy = False
            self.log.append((self, outcome, batch))


@asynccontextmanager
async def running(*members: HeldMember) -> AsyncIterator[None]:
    stop = asyncio.Event()
    tasks = [asyncio.create_task(member.run(stop)) for member in members]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


def handled(log: Log) -> list[str]:
    return sorted(envelope.key for _, outcome, batch in log if outcome == "done" for envelope in batch)


async def test_a_batch_that_ends_in_time_is_acknowledged_before_its_partitions_move(
    broker: KafkaBroker, topic: str, revoked: asyncio.Event
) -> None:
    log: Log = []
    first, second = HeldMember(broker, topic, log), HeldMember(broker, topic, log)
    sent = envelopes(topic, 40)
    await broker.publish(sent)
    async with running(first):
        await until(lambda: first.busy, 30)
        second.free.set()
        async with running(second):
            await asyncio.wait_for(revoked.wait(), 30)
            first.free.set()
            await until(lambda: second.outage.reason is None, 30)
            more = envelopes(topic, 40)
            await broker.publish(more)
            await until(lambda: len(handled(log)) >= 80, 30)
    assert handled(log) == sorted(it.key for it in [*sent, *more])
    assert {member for member, _, _ in log} == {first, second}


async def test_a_batch_that_hangs_is_undone_before_its_partitions_move(broker: KafkaBroker, topic: str) -> None:
    log: Log = []
    first, second = HeldMember(broker, topic, log), HeldMember(broker, topic, log)
    sent = envelopes(topic, 40)
    await broker.publish(sent)
    async with running(first):
        await until(lambda: first.busy, 30)
        second.free.set()
        async with running(second):
            await until(lambda: len(log) > 0, 30)
            assert log[0][:2] == (first, "undone")
            first.free.set()
            await until(lambda: len(handled(log)) >= 40, 30)
    assert handled(log) == sorted(it.key for it in sent)
    assert {member for member, outcome, _ in log if outcome == "done"} == {first, second}


async def test_who_asks_a_broker_that_does_not_answer_is_told_so(
    kafka: Kafka, broker: KafkaBroker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "ACKNOWLEDGE_SECONDS", 1)
    monkeypatch.setattr(group, "CLOSE_SECONDS", 1)
    await broker.publish(envelopes(topic, 1))
    subscription = await broker.subscribe([topic], topic)
    await subscription.receive(1)
    kafka.kill()
    try:
        with pytest.raises(BrokerUnavailable):
            await subscription.acknowledge()
        with pytest.raises(BrokerUnavailable):
            await broker.lag([topic], topic)
        await subscription.close()
    finally:
        await kafka.__aenter__()


async def test_what_a_publisher_was_told_is_not_taken_does_not_leave_behind_its_back(
    kafka: Kafka, broker: KafkaBroker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, refused, last = envelopes(topic, 3)
    await broker.publish([first])
    monkeypatch.setattr(publishing, "PUBLISH_SECONDS", 1)
    kafka.kill()
    try:
        with pytest.raises(BrokerUnavailable):
            await broker.publish([refused])
    finally:
        await kafka.__aenter__()
    monkeypatch.undo()
    await until(lambda: published(broker, last), 30)
    subscription = await broker.subscribe([topic], topic)
    received: list[str] = []
    while last.key not in received:
        received += [it.key for it in await subscription.receive(10)]
    await subscription.close()
    assert set(received) == {first.key, last.key}


async def published(broker: KafkaBroker, envelope: Envelope) -> bool:
    try:
        await broker.publish([envelope])
    except BrokerUnavailable:
        return False
    return True


@pytest.mark.long
async def test_a_backlog_of_300_000_messages_does_not_make_a_slow_consumer_grow(
    broker: KafkaBroker, topic: str
) -> None:
    for _ in range(600):
        await broker.publish([replace(it, body=b"x" * 600) for it in envelopes(topic, 500)])
    before = psutil.Process().memory_info().rss
    subscription = await broker.subscribe([topic], topic)
    for _ in range(100):
        await subscription.receive(100)
        await asyncio.sleep(0.1)
        await subscription.acknowledge()
    assert psutil.Process().memory_info().rss - before < 40 * 1024 * 1024
    assert (await broker.lag([topic], topic))[topic] > 280_000
    await subscription.close()
