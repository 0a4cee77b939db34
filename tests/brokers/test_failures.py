"""What the chassis does when handling fails: it waits, tries again, or parks. The ledger shows it.

Each test is a sentence, the same for memory, Kafka and Pulsar; `needs` names what a broker must be able to do for it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from brokers.asking import act_on_dead_letter, dead_letters, history, until_booked, until_dead_lettered
from brokers.subject import Subject
from chassis.brokers.port import Broker, BrokerSubscription, StartPosition
from chassis.brokers.pulsar import subscription
from chassis.testing import Launch, Launched
from ledger.between import Between
from ledger.faults import database_away, until_waiting
from ledger.handlers import outside
from ledger.main import service
from ledger.messages import Book
from ledger.models import Account
from ledger.waiting import until


class Counting(Between):
    """Counts how often a consumer joined."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self.joined = 0

    async def subscribe(
        self, topics: Sequence[str], group: str, start: StartPosition = StartPosition.BEGINNING
    ) -> BrokerSubscription:
        self.joined += 1
        return await super().subscribe(topics, group, start)


def bookings(ledger: Launched, account: str, *numbers: int) -> asyncio.Task[None]:
    """Published while the test goes on: memory tells only when they were handled."""
    envelopes = [ledger.envelope(Book(account=account, number=number)) for number in numbers]
    return asyncio.create_task(ledger.broker.publish(envelopes))


@pytest.mark.parametrize("seconds", [2, pytest.param(15, marks=pytest.mark.long)])
async def test_while_its_database_is_away_a_consumer_stays_in_its_group_and_goes_on_where_it_was(
    broker: Subject, launch: Launch, account: str, seconds: float
) -> None:
    counting = Counting(broker.connect())
    ledger = await launch(service, broker=counting)
    await ledger.send(Book(account=account, number=0))
    await until_booked(ledger, account, [0])
    async with database_away(ledger):
        publishing = bookings(ledger, account, *range(1, 40))
        await until(lambda: ledger.instance.consumer.outage.reason is not None, 30)
        await asyncio.sleep(seconds)
        assert ledger.instance.consumer.outage.reason is not None
    await until_booked(ledger, account, range(40))
    await publishing
    assert (counting.joined, await dead_letters(ledger)) == (1, [])


async def test_a_batch_that_ends_in_a_deadlock_is_applied_one_by_one(
    broker: Subject, launch: Launch, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another transaction holds the second account and waits for the first."""
    monkeypatch.setattr(subscription, "LINGER_SECONDS", 0.2)  # Pulsar gives one by one; the batch is to be one
    first, second = f"{account} 1", f"{account} 2"
    ledger = await launch(service, broker=broker.connect())
    database = ledger.instance.database
    await asyncio.gather(bookings(ledger, first, 0), bookings(ledger, second, 0))
    for it in (first, second):
        await until_booked(ledger, it, [0])
    before = await deadlocks(ledger)
    async with database.work() as somebody:
        await somebody.execute("SET LOCAL deadlock_timeout = '10s'")  # so that it is the consumer that is ended
        await somebody.lock(Account, id=[second])
        batch = [ledger.envelope(Book(account=it, number=1)) for it in (first, second)]
        together = [replace(it, key=account) for it in batch]  # or each might come alone
        publishing = asyncio.create_task(ledger.broker.publish(together))
        await until_waiting(somebody)
        (wanted,) = await somebody.lock(Account, id=[first])
        wanted.balance += 100
    await publishing
    for it in (first, second):
        await until_booked(ledger, it, [0, 1])
    assert {it.id: it.balance for it in await ledger.rows(Account)} == {first: 102, second: 2}
    await until(lambda: deadlocks_grew(ledger, before), 30)
    assert await dead_letters(ledger) == []


async def deadlocks(ledger: Launched) -> int:
    """That PostgreSQL has ended in this database; each connection tells of its own after a second."""
    async with ledger.instance.database.work() as work:
        (row,) = await work.read("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(row["deadlocks"])


async def deadlocks_grew(ledger: Launched, before: int) -> bool:
    return await deadlocks(ledger) > before


async def poisoned(launch: Launch, broker: Subject, account: str, monkeypatch: pytest.MonkeyPatch) -> Launched:
    """A ledger that could not book the second of four, and has gone on with another account."""
    monkeypatch.setattr(outside, "broken", frozenset({2}))
    ledger = await launch(service, broker=broker.connect())
    await asyncio.gather(bookings(ledger, account, 1, 2, 3, 4), bookings(ledger, f"{account} 2", 5, 6, 7))
    await until_booked(ledger, f"{account} 2", [5, 6, 7])
    first, *later = await until_dead_lettered(ledger, 3)
    assert "2 cannot be booked" in first["reason"]
    assert all("behind" in it["reason"] for it in later)
    assert [it["key"] for it in (first, *later)] == [account] * 3
    assert await history(ledger, account) == [1]
    return ledger


async def test_poison_is_dead_lettered_with_its_key_and_a_replay_puts_back_in_order_what_waits_behind_it(
    broker: Subject, launch: Launch, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await poisoned(launch, broker, account, monkeypatch)
    assert (await act_on_dead_letter(ledger, account, "replay")).status_code == 409
    monkeypatch.setattr(outside, "broken", frozenset())
    assert (await act_on_dead_letter(ledger, account, "replay")).json() == {"replayed": 3}
    await bookings(ledger, account, 5)
    await until_booked(ledger, account, [1, 2, 3, 4, 5])
    assert await dead_letters(ledger) == []


async def test_to_drop_the_poison_lets_the_rest_of_its_key_go_on(
    broker: Subject, launch: Launch, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await poisoned(launch, broker, account, monkeypatch)
    assert (await act_on_dead_letter(ledger, account, "drop")).status_code == 200
    await bookings(ledger, account, 5)
    await until_dead_lettered(ledger, 3)
    assert (await act_on_dead_letter(ledger, account, "replay")).json() == {"replayed": 3}
    await bookings(ledger, account, 6)
    await until_booked(ledger, account, [1, 3, 4, 5, 6])
    assert await dead_letters(ledger) == []
