"""What a broker must make true for this system: each test is a sentence, the same for memory, Kafka and Pulsar."""

import asyncio
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from brokers.conftest import HISTORY, MEMBERS, PROCESSES, RESTART, Subject, needs
from brokers.member import Member, in_order, overlaps, read
from chassis.messaging.broker import Broker, BrokerUnavailable
from chassis.messaging.message import Envelope
from ledger.waiting import until

KEYS = [f"key{number}" for number in range(20)]


def envelopes(topic: str, numbers: range, keys: Sequence[str] = KEYS) -> list[Envelope]:
    """Numbered messages, dealt to the keys in turn."""
    now = datetime.now(UTC)
    return [
        Envelope(topic, keys[number % len(keys)], id, "test.counted.v1", "test", now, str(number).encode(), str(id))
        for number, id in ((number, uuid4()) for number in numbers)
    ]


def dealt(count: int, keys: Sequence[str] = KEYS) -> dict[str, list[int]]:
    """What `envelopes` made, by key."""
    return {key: list(range(place, count, len(keys))) for place, key in enumerate(keys)}


async def publish_all(broker: Broker, all_of_them: Sequence[Envelope], pause_seconds: float = 0) -> None:
    """In small parts, each until it is acknowledged, as a relay does it."""
    for start in range(0, len(all_of_them), 10):
        while True:
            try:
                await broker.publish(all_of_them[start : start + 10])
                break
            except BrokerUnavailable:
                await asyncio.sleep(0.2)
        await asyncio.sleep(pause_seconds)


def count_of(*members: Member | Path) -> int:
    handled = [it.handled if isinstance(it, Member) else read(it) for it in members]
    return len({it.number for one in handled for it in one})


def all_came(count: int, *members: Member | Path) -> bool:
    return count_of(*members) >= count


async def test_an_acknowledged_publish_reaches_each_group_in_order_per_key(broker: Subject) -> None:
    members = [await broker.join(group, group) for group in ("first", "second")]
    await publish_all(broker.connect(), envelopes(broker.topic, range(200)))
    await until(lambda: all(all_came(200, member) for member in members), 30)
    assert [in_order(member.handled) for member in members] == [dealt(200), dealt(200)]


@needs(RESTART)
@pytest.mark.parametrize("kill", [False, True], ids=["restart", "kill -9"])
async def test_an_acknowledged_publish_survives_the_end_of_the_broker_amid_the_stream(
    broker: Subject, kill: bool
) -> None:
    member = await broker.join("member")
    publishing = asyncio.create_task(publish_all(broker.connect(), envelopes(broker.topic, range(600)), 0.01))
    await until(lambda: all_came(100, member), 30)
    async with broker.away(kill):
        pass
    await asyncio.wait_for(publishing, 60)
    await until(lambda: all_came(600, member), 60)
    assert in_order(member.handled) == dealt(600)


@needs(RESTART)
async def test_a_publisher_that_does_not_reach_the_broker_is_told_so_and_goes_on_in_order_afterwards(
    broker: Subject,
) -> None:
    member, publisher = await broker.join("member"), broker.connect()
    await publish_all(publisher, envelopes(broker.topic, range(100)))
    async with broker.away():
        with pytest.raises(BrokerUnavailable):
            await publisher.publish(envelopes(broker.topic, range(100, 140)))
    await publish_all(publisher, envelopes(broker.topic, range(100, 300)))
    await until(lambda: all_came(300, member), 60)
    assert in_order(member.handled) == dealt(300)


@needs(PROCESSES)
async def test_what_a_consumer_killed_with_9_has_not_acknowledged_goes_to_another_in_order(
    broker: Subject, tmp_path: Path
) -> None:
    dying, staying = tmp_path / "dying", tmp_path / "staying"
    first = await broker.spawn(dying)
    await broker.spawn(staying)
    publishing = asyncio.create_task(publish_all(broker.connect(), envelopes(broker.topic, range(1000)), 0.02))
    await until(lambda: all_came(50, dying), 60)
    first.send_signal(signal.SIGKILL)
    await publishing
    await until(lambda: all_came(1000, dying, staying), 60)
    assert read(staying)
    assert in_order([*read(dying), *read(staying)]) == dealt(1000)
    assert overlaps([*read(dying), *read(staying)]) == []


@needs(MEMBERS)
async def test_a_key_is_with_one_consumer_at_a_time_and_in_order_while_consumers_join_and_leave(
    broker: Subject,
) -> None:
    members = [await broker.join("one", pause_seconds=0.001)]
    publishing = asyncio.create_task(publish_all(broker.connect(), envelopes(broker.topic, range(1500)), 0.02))
    for number in range(2):
        members.append(await broker.join(f"joins {number}", pause_seconds=0.001))
        await asyncio.sleep(0.3)
    members[0].stop.set()
    await asyncio.sleep(0.3)
    members.append(await broker.join("late", pause_seconds=0.001))
    members[1].stop.set()
    await publishing
    await until(lambda: all_came(1500, *members), 60)
    handled = [it for member in members for it in member.handled]
    assert in_order(handled) == dealt(1500)
    assert overlaps(handled) == []


@needs(MEMBERS)
async def test_a_group_shares_the_work_and_a_slow_consumer_does_not_stop_the_others(broker: Subject) -> None:
    keys = [f"key{number}" for number in range(200)]
    members = [await broker.join(f"member {number}") for number in range(3)]
    stream = broker.connect()
    await publish_all(stream, envelopes(broker.topic, range(400), keys))
    await until(lambda: all_came(400, *members), 30)
    owners = {it.key: member for member in members for it in member.handled}
    shares = Counter(member.name for member in owners.values())
    assert all(shares[member.name] >= 20 for member in members), shares
    slow, others = members[0], members[1:]
    slow.free.clear()
    await publish_all(stream, envelopes(broker.topic, range(400, 800), keys))
    of_others = sum(owners[keys[number % 200]] is not slow for number in range(400, 800))
    await until(lambda: _got(others, of_others), 30)
    slow.free.set()


def _got(members: Sequence[Member], count: int) -> bool:
    return sum(it.number >= 400 for member in members for it in member.handled) >= count


async def test_what_was_received_and_not_acknowledged_comes_again_in_order(broker: Subject) -> None:
    connection = broker.connect()
    first = await connection.subscribe([broker.topic], broker.group)
    publishing = asyncio.create_task(connection.publish(envelopes(broker.topic, range(6), ["key"])))
    received = await first.receive(3)
    await first.close()
    second = await broker.connect().subscribe([broker.topic], broker.group)
    numbers: list[int] = []
    while len(numbers) < 6:
        numbers += [int(envelope.body) for envelope in await asyncio.wait_for(second.receive(10), 30)]
        await second.acknowledge()
    await second.close()
    await publishing
    assert [int(envelope.body) for envelope in received] == list(range(len(received)))
    assert numbers == list(range(6))


async def test_a_clean_stop_brings_neither_loss_nor_a_message_twice(broker: Subject) -> None:
    first = await broker.join("first", batch=7)
    publishing = asyncio.create_task(broker.connect().publish(envelopes(broker.topic, range(300), KEYS[:3])))
    await until(lambda: all_came(50, first), 30)
    first.stop.set()
    await asyncio.sleep(0.5)  # it leaves before the next one comes
    second = await broker.join("second")
    await until(lambda: all_came(300, first, second), 30)
    await publishing
    numbers = Counter(it.number for it in [*first.handled, *second.handled])
    assert numbers == Counter(range(300))


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


@needs(HISTORY)
async def test_a_new_group_reads_from_the_beginning(broker: Subject) -> None:
    earlier = await broker.join("earlier", "earlier")
    await publish_all(broker.connect(), envelopes(broker.topic, range(100)))
    await until(lambda: all_came(100, earlier), 30)
    later = await broker.join("later", "later")
    await until(lambda: all_came(100, later), 30)
    assert in_order(later.handled) == dealt(100)
