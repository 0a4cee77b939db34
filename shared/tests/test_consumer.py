"""The consumer: each message once and in order per key, whatever fails."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import httpx
import pytest
from prometheus_client import REGISTRY

from chassis.brokers.memory import MemoryBroker
from chassis.brokers.port import BrokerSubscription, BrokerUnavailable, StartPosition
from chassis.database import UnitOfWork
from chassis.message import Envelope
from chassis.messaging.consumer import Consumer
from chassis.process import instance
from chassis.testing import Launch, Launched
from ledger.between import Between, BetweenSubscription
from ledger.faults import database_away, until_waiting
from ledger.handlers import Outside
from ledger.main import service
from ledger.messages import Book, Booked, Forgotten
from ledger.models import Account
from ledger.waiting import until


async def histories(ledger: Launched) -> dict[str, list[int]]:
    return {account.id: account.history for account in await ledger.rows(Account)}


async def dead_letters(ledger: Launched) -> list[dict[str, Any]]:
    async with ledger.as_staff() as operator:
        answer = await operator.get("/internal/dead-letters")
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()
    return found


async def replay(ledger: Launched, key: str) -> httpx.Response:
    async with ledger.as_staff() as operator:
        return await operator.post(f"/internal/dead-letters/{key}/replay")


def bookings(*pairs: tuple[str, int]) -> list[Book]:
    return [Book(account=account, number=number) for account, number in pairs]


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"{name}_total", {"service": "ledger", **labels}) or 0


async def test_messages_of_a_batch_are_applied_in_order_and_announced(ledger: Launched) -> None:
    await ledger.send(*bookings(("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3)))
    assert await histories(ledger) == {"a": [1, 2, 3], "b": [1, 2]}
    assert [it.model_dump() for it in await ledger.sent(Booked)] == [
        {"account": account, "number": number, "balance": number}
        for account, number in [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3)]
    ]


async def test_a_double_is_applied_once_within_a_batch_and_across_batches(ledger: Launched) -> None:
    first, second = [ledger.envelope(it) for it in bookings(("a", 1), ("a", 2))]
    before = counted("messages_duplicate")
    await ledger.send(first, first, second)
    await ledger.send(second, first)
    assert await histories(ledger) == {"a": [1, 2]}
    assert counted("messages_duplicate") - before == 3
    assert len(await ledger.sent(Booked)) == 2


@pytest.mark.parametrize("in_one_batch", [True, False])
async def test_later_messages_of_a_key_wait_behind_a_dead_lettered_one_and_others_flow(
    ledger: Launched, world: Outside, in_one_batch: bool
) -> None:
    world.broken = frozenset({2})
    messages = bookings(("a", 1), ("a", 2), ("b", 1), ("a", 3), ("b", 3), ("a", 4))
    for group in [messages] if in_one_batch else [[it] for it in messages]:
        await ledger.send(*group)
    assert await histories(ledger) == {"a": [1], "b": [1, 3]}
    found = await dead_letters(ledger)
    assert [it["key"] for it in found] == ["a", "a", "a"]
    assert "2 cannot be booked" in found[0]["reason"]
    assert '"number":2' in found[0]["body"]
    assert all("behind" in it["reason"] for it in found[1:])


async def test_a_replay_puts_back_in_order_what_waits_and_frees_the_key(ledger: Launched, world: Outside) -> None:
    world.broken = frozenset({2})
    await ledger.send(*bookings(("a", 1), ("a", 2), ("a", 3), ("a", 4)))
    world.broken = frozenset()
    answer = await replay(ledger, "a")
    assert (answer.status_code, answer.json()) == (200, {"replayed": 3})
    assert await dead_letters(ledger) == []
    await ledger.send(*bookings(("a", 5)))
    assert await histories(ledger) == {"a": [1, 2, 3, 4, 5]}
    assert [it.model_dump()["number"] for it in await ledger.sent(Booked)] == [1, 2, 3, 4, 5]


async def test_a_replay_stops_at_a_message_that_still_fails(ledger: Launched, world: Outside) -> None:
    world.broken = frozenset({2, 4})
    await ledger.send(*bookings(("a", 1), ("a", 2), ("a", 3), ("a", 4), ("a", 5)))
    world.broken = frozenset({4})
    answer = await replay(ledger, "a")
    assert (answer.status_code, answer.json()["code"], answer.json()["replayed"]) == (409, "replay_failed", 2)
    assert "4 cannot be booked" in answer.json()["detail"]
    assert await histories(ledger) == {"a": [1, 2, 3]}
    assert ['"number":4' in it["body"] for it in await dead_letters(ledger)] == [True, False]


async def test_a_double_of_a_dead_letter_is_not_dead_lettered_again(ledger: Launched, world: Outside) -> None:
    world.broken = frozenset({1})
    (poison,) = [ledger.envelope(it) for it in bookings(("a", 1))]
    await ledger.send(poison, poison)
    await ledger.send(poison)
    assert len(await dead_letters(ledger)) == 1


async def test_one_poison_among_fifty_keeps_back_nothing_else(ledger: Launched, world: Outside) -> None:
    world.broken = frozenset({25})
    await ledger.send(*bookings(*((f"key {number}", number) for number in range(51))))
    assert len(await histories(ledger)) == 50
    assert [it["key"] for it in await dead_letters(ledger)] == ["key 25"]


async def test_an_unknown_type_is_skipped_and_counted(ledger: Launched) -> None:
    before = counted("messages_skipped", type=Forgotten.wire_type)
    await ledger.send(*bookings(("a", 1)), Forgotten(account="a"), *bookings(("a", 2)))
    assert await histories(ledger) == {"a": [1, 2]}
    assert counted("messages_skipped", type=Forgotten.wire_type) - before == 1
    assert await dead_letters(ledger) == []


GOOD = [
    ("ce_id", b"0190b6a0-0000-7000-8000-000000000000"),
    ("ce_type", Book.wire_type.encode()),
    ("ce_source", b"x"),
    ("ce_time", b"2026-01-01T00:00:00Z"),
]


@pytest.mark.parametrize(
    ("key", "headers", "body"),
    [
        ("a", [], b"{}"),
        ("a", GOOD[1:], b"{}"),
        ("a", [("ce_id", b"seven"), *GOOD[1:]], b"{}"),
        ("a", [*GOOD[:3], ("ce_time", b"yesterday")], b"{}"),
        ("a", [("ce_id", b"\xff"), *GOOD[1:]], b"\xff\x00"),
        ("a", [*GOOD, ("traceparent", None)], b"{}"),
        ("a", [*GOOD, ("ce_correlationid", b"a\0b")], b"{}"),
        ("", GOOD[1:], b""),
        ("a\0b/c", GOOD[1:], b""),
        ("a", GOOD, b'{"account": "a"}'),
        ("a", GOOD, b'{"account": "a", "number": "one"}'),
        ("a", GOOD, b"\xff\x00"),
        ("a", GOOD, b""),
        ("a", GOOD, b'{"account": "a\\u0000", "number": 1}'),
        ("a", GOOD, b'{"account": "a", "number": 1, "amount": 99999999999999999999}'),
    ],
)
async def test_what_cannot_be_read_or_does_not_fit_is_dead_lettered(
    ledger: Launched, key: str, headers: list[tuple[str, Any]], body: bytes
) -> None:
    await ledger.send(Envelope.read(Book.topic, key, headers, body), *bookings(("b", 1)))
    assert await histories(ledger) == {"b": [1]}
    (found,) = await dead_letters(ledger)
    answer = await replay(ledger, found["key"])
    assert (answer.status_code, answer.json()["code"]) == (409, "replay_failed")
    assert len(await dead_letters(ledger)) == 1


async def test_only_an_operator_sees_what_is_dead_lettered(ledger: Launched) -> None:
    async with ledger.as_customer() as customer:
        assert (await customer.get("/internal/dead-letters")).status_code == 403
    assert (await replay(ledger, "nobody")).json()["code"] == "dead_letter_not_found"


@pytest.mark.parametrize("conflict", [asyncpg.DeadlockDetectedError, asyncpg.SerializationError])
@pytest.mark.parametrize("failures", [1, 3, 100])
async def test_a_conflict_is_tried_again_some_times(
    ledger: Launched, monkeypatch: pytest.MonkeyPatch, conflict: type[Exception], failures: int
) -> None:
    handlers, tries = Consumer.run_handlers, 0

    async def run_handlers(self: Consumer, work: UnitOfWork, messages: Any) -> None:
        nonlocal tries
        tries += 1
        await handlers(self, work, messages)
        if tries <= failures:
            raise conflict("in the way")

    monkeypatch.setattr(Consumer, "run_handlers", run_handlers)
    await ledger.send(*bookings(("a", 1)))
    assert await histories(ledger) == ({"a": [1]} if failures < 100 else {})
    assert len(await dead_letters(ledger)) == (failures == 100)


async def test_a_real_deadlock_ends_with_both_applied(ledger: Launched) -> None:
    """Another transaction locks two accounts against the order of keys; PostgreSQL ends one of the two."""
    await ledger.send(*bookings(("a", 1), ("b", 1)))
    async with ledger.instance.database.work() as work:
        await work.execute("SET LOCAL deadlock_timeout = '10s'")  # so that it is the consumer that is ended
        await work.execute("SELECT FROM accounts WHERE id = 'b' FOR UPDATE")
        sending = asyncio.create_task(ledger.send(*bookings(("a", 2), ("b", 2))))
        await until_waiting(work)
        await work.execute("UPDATE accounts SET balance = balance + 100 WHERE id = 'a'")
    await sending
    assert {account.id: account.balance for account in await ledger.rows(Account)} == {"a": 102, "b": 2}


async def test_while_its_database_is_away_it_waits_says_so_once_and_goes_on(
    ledger: Launched, caplog: pytest.LogCaptureFixture
) -> None:
    await ledger.send(*bookings(("a", 1)))
    caplog.set_level(logging.WARNING)
    async with database_away(ledger):
        publishing = asyncio.create_task(ledger.broker.publish([ledger.envelope(it) for it in bookings(("a", 2))]))
        async with ledger.client() as client:

            async def said_by_all() -> bool:
                ready = await client.get("/readyz")
                return ready.status_code == 503 and {"consumer", "database"} <= ready.json()["waiting_for"].keys()

            await until(said_by_all)
            assert (await client.get("/livez")).status_code == 200
        await asyncio.sleep(1.5)  # several tries
        assert not publishing.done()
    await publishing
    await ledger.send(*bookings(("a", 3)))
    assert await histories(ledger) == {"a": [1, 2, 3]}
    assert await dead_letters(ledger) == []
    said = [it.getMessage() for it in caplog.records if "of the consumer" in it.getMessage()]
    assert [text.split(" of the consumer ")[1] for text in said] == ["is away; waiting for it", "is back"]
    async with ledger.client() as client:
        assert (await client.get("/readyz")).status_code == 200


async def test_a_message_may_be_published_before_its_group_has_joined() -> None:
    """In the one process of the whole shop, a relay may be faster than another service's migration."""
    broker = MemoryBroker({"ledger": [Book.topic]})
    envelope = Envelope.read(Book.topic, "a", GOOD, b"{}")
    publishing = asyncio.create_task(broker.publish([envelope, replace(envelope, topic="nobody.commands")]))
    await asyncio.sleep(0)
    subscription = await broker.subscribe([Book.topic], "ledger")
    assert await subscription.receive(10) == [envelope]
    assert not publishing.done()
    await subscription.acknowledge()
    await publishing


class Moving(BetweenSubscription):
    """Its partitions are taken away when `lost` is set, and come back with `back`."""

    def __init__(self, subscription: BrokerSubscription) -> None:
        super().__init__(subscription)
        self.back = asyncio.Event()
        self.back.set()

    async def receive(self, limit: int) -> list[Envelope]:
        await self.back.wait()
        self.lost.clear()
        return await super().receive(limit)


class Rebalancing(Between):
    moving: Moving

    async def subscribe(
        self, topics: Sequence[str], group: str, start: StartPosition = StartPosition.BEGINNING
    ) -> BrokerSubscription:
        self.moving = Moving(await super().subscribe(topics, group, start))
        return self.moving


async def test_a_batch_that_is_lost_leaves_nothing_in_flight(launch: Launch) -> None:
    broker = Rebalancing(MemoryBroker())
    ledger = await launch(service, broker=broker)
    await ledger.send(*bookings(("a", 1)))
    async with ledger.instance.database.work() as work:
        await work.execute("SELECT FROM accounts WHERE id = 'a' FOR UPDATE")
        sending = asyncio.create_task(ledger.send(*bookings(("a", 2))))
        await until_waiting(work)
        broker.moving.back.clear()
        broker.moving.lost.set()

        async def nobody_waits() -> bool:
            return not await work.read("SELECT FROM pg_locks WHERE NOT granted")

        await until(nobody_waits)
        assert len(await work.read("SELECT FROM inbox")) == 1
    assert await histories(ledger) == {"a": [1]}
    broker.moving.back.set()
    await sending
    assert await histories(ledger) == {"a": [1, 2]}


class Unanswering(MemoryBroker):
    """Does not tell the lag the first times it is asked."""

    asked = 0

    async def lag(self, topics: Sequence[str], group: str) -> dict[str, int]:
        self.asked += 1
        if self.asked < 4:
            raise BrokerUnavailable("no answer")
        return dict.fromkeys(topics, 7)


async def test_a_consumer_tells_its_lag_and_says_once_that_its_broker_does_not_answer(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(instance, "LAG_SECONDS", 0.02)
    broker = Unanswering()
    await launch(service, broker=broker)
    await until(lambda: REGISTRY.get_sample_value("messages_lag", {"service": "ledger", "topic": Book.topic}) == 7)
    said = [it.getMessage() for it in caplog.records if "of the consumer" in it.getMessage()]
    assert [text.split(" of the consumer ")[1] for text in said] == ["is away; waiting for it", "is back"]
    assert broker.asked >= 4
