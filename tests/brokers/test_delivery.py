"""What a broker has acknowledged is delivered, as it was sent and in order per key, whatever happens on the way.

These tests are the conformance suite of the brokers. Each is a sentence, the same for memory, Kafka and Pulsar; `needs`
names what a broker must be able to do for it.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from uuid import uuid4

import pytest

from brokers.member import Noting, count_of, in_order
from brokers.stream import Stream, dealt, envelopes, put_all
from brokers.subject import NETWORK, RESTART, Subject, needs
from chassis.brokers.kafka import broker as kafka
from chassis.brokers.port import BrokerUnavailable
from chassis.brokers.pulsar import broker as pulsar
from chassis.message import Envelope
from ledger.waiting import until


async def goes_on(stream: Stream, member: Noting, count: int = 100) -> None:
    """Wait until this number of further messages was handled and acknowledged."""
    sent, handled = stream.count, count_of(member)
    await until(lambda: stream.count >= sent + count and count_of(member) >= handled + count, 60)


async def all_came(stream: Stream, member: Noting) -> None:
    """After the stream has ended: nothing is missing, all is in order."""
    await until(lambda: count_of(member) >= stream.count, 60)
    assert in_order(member) == dealt(stream.count)


async def test_an_acknowledged_publish_reaches_each_group_in_order_per_key(broker: Subject) -> None:
    members = [await broker.join(group, f"{broker.group} {group}") for group in ("first", "second")]
    await put_all(broker.connect().publish, envelopes(broker.topic, range(200)))
    await until(lambda: all(count_of(member) == 200 for member in members), 30)
    assert [in_order(member) for member in members] == [dealt(200), dealt(200)]


@needs(RESTART)
@pytest.mark.parametrize("kill", [False, True], ids=["restart", "kill -9"])
async def test_an_acknowledged_publish_survives_the_end_of_the_broker_amid_the_stream(
    broker: Subject, kill: bool
) -> None:
    member = await broker.join("member")
    async with broker.stream() as stream:
        await goes_on(stream, member)
        async with broker.away(kill):
            pass
        await goes_on(stream, member)
    await all_came(stream, member)


@needs(RESTART)
@pytest.mark.parametrize("seconds", [3, pytest.param(15, marks=pytest.mark.long)])
async def test_an_acknowledged_publish_survives_a_pause_of_the_broker_amid_the_stream(
    broker: Subject, seconds: float
) -> None:
    member = await broker.join("member")
    async with broker.stream() as stream:
        await goes_on(stream, member)
        async with broker.hanging():
            await asyncio.sleep(seconds)
        await goes_on(stream, member)
    await all_came(stream, member)


@needs(NETWORK)
@pytest.mark.parametrize(("fault", "seconds"), [("cut", 0), ("cut", 2), ("dead", 3)])
async def test_an_acknowledged_publish_survives_a_network_that_is_cut_or_goes_dead_amid_the_stream(
    broker: Subject, fault: str, seconds: float
) -> None:
    assert broker.proxy is not None
    member = await broker.join("member")
    async with broker.stream() as stream:
        for _ in range(2):
            await goes_on(stream, member)
            failing: AbstractAsyncContextManager[None] = getattr(broker.proxy, fault)()
            async with failing:
                await asyncio.sleep(seconds)
        await goes_on(stream, member)
    await all_came(stream, member)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for adapter in (kafka, pulsar):
        monkeypatch.setattr(adapter, "PUBLISH_SECONDS", 2)


@needs(RESTART)
async def test_a_publisher_that_does_not_reach_the_broker_is_told_so_and_goes_on_in_order_afterwards(
    broker: Subject, impatient: None
) -> None:
    member, publisher = await broker.join("member"), broker.connect()
    await put_all(publisher.publish, envelopes(broker.topic, range(100)))
    async with broker.away():
        with pytest.raises(BrokerUnavailable):
            await publisher.publish(envelopes(broker.topic, range(100, 140)))
    await put_all(publisher.publish, envelopes(broker.topic, range(100, 300)))
    await until(lambda: count_of(member) >= 300, 60)
    assert in_order(member) == dealt(300)


async def test_headers_key_and_body_survive_byte_for_byte(broker: Subject) -> None:
    (plain,) = envelopes(broker.topic, range(1))
    sent = [
        plain,
        replace(plain, id=uuid4(), body=bytes(range(256)), key="Grüße, 世界 🛒/?#\n"),
        replace(
            plain, id=uuid4(), body=b"", causation_id="a cause", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01"
        ),
        replace(plain, id=uuid4(), body=b"x" * 900_000, source="é", correlation_id="c" * 1000),
    ]
    connection = broker.connect()
    subscription = await connection.subscribe([broker.topic], broker.group)
    publishing = asyncio.create_task(connection.publish(sent))
    received: list[Envelope] = []
    while len(received) < len(sent):
        received += await asyncio.wait_for(subscription.receive(10), 30)
        await subscription.acknowledge()
    await subscription.close()
    await publishing
    assert {envelope.id: envelope for envelope in received} == {envelope.id: envelope for envelope in sent}
