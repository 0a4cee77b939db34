"""How a group of consumers shares its messages, also while its members come, leave and die.

Each test is a sentence, the same for memory, Kafka and Pulsar; `needs` names what a broker must be able to do for it.
"""

import asyncio
import json
import signal
import sys
from collections import Counter

import pytest

from brokers.member import count_of, handled_by, in_order, overlaps
from brokers.stream import KEYS, dealt, envelopes, put_all
from brokers.subject import MEMBERS, PROCESSES, Subject, needs, with_path
from ledger.waiting import until


@needs(PROCESSES)
async def test_what_a_consumer_killed_with_9_has_not_acknowledged_goes_to_another_in_order(broker: Subject) -> None:
    async with broker.stream() as stream:
        dying, staying = await broker.spawn("dying"), await broker.spawn("staying")
        await until(lambda: len(dying.handled) >= 20 and len(staying.handled) >= 20, 60)
        assert await dying.end(signal.SIGKILL) == -signal.SIGKILL
        mine = in_order(dying)
        await until(lambda: in_order(staying).keys() >= mine.keys(), 60)
    await until(lambda: count_of(dying, staying) >= stream.count, 60)
    assert in_order(dying, staying) == dealt(stream.count)
    assert overlaps(dying, staying) == []


@needs(PROCESSES)
async def test_a_consumer_that_is_asked_to_stop_brings_neither_loss_nor_a_message_twice(broker: Subject) -> None:
    async with broker.stream() as stream:
        leaving, staying = await broker.spawn("leaving"), await broker.spawn("staying")
        await until(lambda: len(leaving.handled) >= 20 and len(staying.handled) >= 20, 60)
        assert await leaving.end(signal.SIGTERM) == 0
        mine = in_order(leaving)
        await until(lambda: in_order(staying).keys() >= mine.keys(), 60)
    await until(lambda: count_of(leaving, staying) >= stream.count, 60)
    assert in_order(leaving, staying) == dealt(stream.count)
    assert Counter(it.number for it in handled_by(leaving, staying)) == Counter(range(stream.count))


@needs(PROCESSES)
@pytest.mark.parametrize("count", [24, pytest.param(400, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_each_process_whose_consumer_stops_ends_with_0(broker: Subject, count: int, seed: int) -> None:
    """Also while the machine is busy: several of them stop at once."""
    await put_all(broker.connect().publish, envelopes(broker.topic, range(40)))
    admin = [broker.settings["PULSAR_ADMIN_URL"]] if broker.name == "pulsar" else []
    words = ["-m", "brokers.stops", str(count), str(seed), broker.name, broker.address, broker.topic, *admin]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, env=with_path(), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert json.loads(output) == {"0": count}


@needs(MEMBERS)
async def test_a_key_is_with_one_consumer_at_a_time_and_in_order_while_consumers_join_and_leave(
    broker: Subject,
) -> None:
    members = [await broker.join("one", pause_seconds=0.001)]
    async with broker.stream() as stream:
        for number in range(2):
            members.append(await broker.join(f"joins {number}", pause_seconds=0.001))
            await until(lambda: bool(members[-1].handled), 60)
        members[0].stop.set()
        await members[0].left.wait()
        members.append(await broker.join("late", pause_seconds=0.001))
        members[1].stop.set()
        await until(lambda: all(member.handled for member in members), 60)
    await until(lambda: count_of(*members) >= stream.count, 60)
    assert in_order(*members) == dealt(stream.count)
    assert overlaps(*members) == []


@needs(MEMBERS)
async def test_a_group_shares_the_work_and_a_slow_consumer_does_not_stop_the_others(broker: Subject) -> None:
    keys = [f"key{number}" for number in range(200)]
    members = [await broker.join(f"member {number}") for number in range(3)]
    publish = broker.connect().publish
    await put_all(publish, envelopes(broker.topic, range(400), keys))
    await until(lambda: count_of(*members) == 400, 30)
    owners = {it.key: it.member for it in sorted(handled_by(*members), key=lambda it: it.ended)}
    shares = Counter(owners.values())
    assert all(shares[member.name] >= 20 for member in members), shares
    slow, others = members[0], members[1:]
    slow.free.clear()
    await put_all(publish, envelopes(broker.topic, range(400, 800), keys))
    of_others = {number for number in range(400, 800) if owners[keys[number % 200]] != slow.name}
    await until(lambda: of_others <= {it.number for it in handled_by(*others)}, 30)


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
    await until(lambda: count_of(first) >= 50, 30)
    first.stop.set()
    await first.left.wait()
    second = await broker.join("second")
    await until(lambda: count_of(first, second) == 300, 30)
    await publishing
    assert Counter(it.number for it in handled_by(first, second)) == Counter(range(300))
