"""Where a group begins, how far it is, and how it is set back.

Each test is a sentence, the same for memory, Kafka and Pulsar; `needs` names what a broker must be able to do for it.
"""

import asyncio
from datetime import UTC, datetime

import pytest

from brokers.member import count_of, in_order
from brokers.stream import dealt, envelopes, put_all
from brokers.subject import HISTORY, Subject, needs
from chassis.brokers.port import BrokerSubscription, GroupActive, StartPosition
from ledger.waiting import until


async def numbers_from(subscription: BrokerSubscription, count: int) -> list[int]:
    """Receive and acknowledge this number of messages."""
    numbers: list[int] = []
    while len(numbers) < count:
        numbers += [
            int(envelope.body) for envelope in await asyncio.wait_for(subscription.receive(count - len(numbers)), 30)
        ]
        await subscription.acknowledge()
    await subscription.close()
    return numbers


@needs(HISTORY)
async def test_a_new_group_reads_from_the_beginning(broker: Subject) -> None:
    earlier = await broker.join("earlier", "earlier")
    await put_all(broker.connect().publish, envelopes(broker.topic, range(100)))
    await until(lambda: count_of(earlier) == 100, 30)
    later = await broker.join("later", "later")
    await until(lambda: count_of(later) == 100, 30)
    assert in_order(later) == dealt(100)


async def test_a_new_group_may_read_from_now_on_and_loses_nothing_when_it_dies_before_it_acknowledged(
    broker: Subject,
) -> None:
    connection = broker.connect()
    await connection.publish(envelopes(broker.topic, range(10), ["key"]))
    first = await connection.subscribe([broker.topic], broker.group, StartPosition.NOW)
    publishing = asyncio.create_task(connection.publish(envelopes(broker.topic, range(10, 20), ["key"])))
    received = await asyncio.wait_for(first.receive(3), 30)
    await first.close()
    second = await broker.connect().subscribe([broker.topic], broker.group, StartPosition.NOW)
    assert await numbers_from(second, 10) == list(range(10, 20))
    await publishing
    assert [int(envelope.body) for envelope in received] == list(range(10, 10 + len(received)))


@needs(HISTORY)
async def test_what_is_published_while_a_group_that_read_from_now_on_is_gone_waits_for_it(broker: Subject) -> None:
    connection = broker.connect()
    await connection.publish(envelopes(broker.topic, range(5), ["key"]))
    await (await connection.subscribe([broker.topic], broker.group, StartPosition.NOW)).close()
    await connection.publish(envelopes(broker.topic, range(5, 10), ["key"]))
    again = await connection.subscribe([broker.topic], broker.group, StartPosition.NOW)
    assert await numbers_from(again, 5) == list(range(5, 10))


@needs(HISTORY)
@pytest.mark.parametrize("read", [100, 30, 0], ids=["at the end", "in the middle", "new"])
async def test_a_group_can_be_set_to_a_time_and_goes_on_from_there(broker: Subject, read: int) -> None:
    connection = broker.connect()
    await connection.publish(envelopes(broker.topic, range(60), ["key"]))
    await asyncio.sleep(0.05)
    moment = datetime.now(UTC)
    await asyncio.sleep(0.05)
    await connection.publish(envelopes(broker.topic, range(60, 100), ["key"]))
    if read:
        before = await connection.subscribe([broker.topic], broker.group)
        assert await numbers_from(before, read) == list(range(read))
    await connection.rewind([broker.topic], broker.group, moment)
    assert await connection.lag([broker.topic], broker.group) == {broker.topic: 40}
    after = await connection.subscribe([broker.topic], broker.group)
    assert await numbers_from(after, 40) == list(range(60, 100))


@needs(HISTORY)
async def test_a_group_that_has_members_cannot_be_set_back(broker: Subject) -> None:
    member = await broker.join("member")
    connection = broker.connect()
    await put_all(connection.publish, envelopes(broker.topic, range(20)))
    await until(lambda: count_of(member) == 20, 30)
    with pytest.raises(GroupActive):
        await connection.rewind([broker.topic], broker.group, datetime.fromtimestamp(0, UTC))
    await put_all(connection.publish, envelopes(broker.topic, range(20, 40)))
    await until(lambda: count_of(member) == 40, 30)
    assert len(member.handled) == 40


async def test_the_lag_of_a_group_is_what_it_has_not_acknowledged(broker: Subject) -> None:
    connection = broker.connect()

    async def lag_is(count: int) -> bool:
        return await connection.lag([broker.topic], broker.group) == {broker.topic: count}

    await connection.ensure_topics([broker.topic])
    assert await lag_is(0)
    subscription = await connection.subscribe([broker.topic], broker.group)
    publishing = asyncio.create_task(connection.publish(envelopes(broker.topic, range(10))))
    await until(lambda: lag_is(10), 30)
    received = await asyncio.wait_for(subscription.receive(3), 30)
    assert await lag_is(10)
    await subscription.acknowledge()
    await until(lambda: lag_is(10 - len(received)), 30)
    await numbers_from(subscription, 10 - len(received))
    await publishing
    await until(lambda: lag_is(0), 30)
