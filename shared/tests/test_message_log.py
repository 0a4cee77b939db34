"""What operators can ask about messages: sent, published, waiting, handled, dead, and how far a service is behind."""

import re
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from chassis.brokers.memory import MemoryBroker
from chassis.brokers.port import BrokerUnavailable
from chassis.database import new_id
from chassis.messaging import message_log
from chassis.testing import Launch, Launched
from ledger.handlers import Outside
from ledger.main import service
from ledger.messages import Book, Booked, Forgotten


async def request(ledger: Launched, path: str, **params: Any) -> Any:
    async with ledger.as_staff() as operator:
        answer = await operator.get(f"/internal/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def handled(ledger: Launched, *ids: UUID) -> Any:
    async with ledger.as_staff() as operator:
        return (await operator.post("/internal/messages/handled", json=[str(id) for id in ids])).json()


def numbers(messages: list[dict[str, Any]]) -> list[tuple[str, int]]:
    booked = [Booked.model_validate_json(it["body"]) for it in messages]
    return [(it.account, it.number) for it in booked]


async def test_sent_messages_are_found_by_key_and_by_correlation(ledger: Launched) -> None:
    first, second = ledger.envelope(Book(account="a", number=1)), ledger.envelope(Book(account="b", number=2))
    await ledger.send(first, second, Book(account="a", number=3))
    found = await request(ledger, "messages", key="a")
    assert numbers(found) == [("a", 1), ("a", 3)]
    assert found[0]["causation_id"] == str(first.id)
    assert found[0]["correlation_id"] == first.correlation_id
    assert all(it["published_at"] for it in found)
    correlations = [first.correlation_id, second.correlation_id]
    assert numbers(await request(ledger, "messages", correlation_id=correlations)) == [("a", 1), ("b", 2)]
    assert numbers(await request(ledger, "messages", key="a", correlation_id=correlations[1])) == [
        ("a", 1),
        ("b", 2),
        ("a", 3),
    ]
    assert await request(ledger, "messages", key="nobody") == []
    assert await request(ledger, "messages") == []


class AwayBroker(MemoryBroker):
    """Takes nothing and says nothing while it is away."""

    away = True

    async def publish(self, envelopes: Any) -> None:
        if self.away:
            raise BrokerUnavailable("it is away")
        await super().publish(envelopes)

    async def lag(self, topics: Any, group: str) -> dict[str, int]:
        if self.away:
            raise BrokerUnavailable("it is away")
        return await super().lag(topics, group)


async def test_while_the_broker_is_away_what_waits_in_the_outbox_is_told(launch: Launch) -> None:
    broker = AwayBroker()
    ledger = await launch(service, broker, role="api")
    async with ledger.instance.database.work() as work:
        await work.begin()
        work.send(Booked(account="a", number=1, balance=1), Booked(account="a", number=2, balance=2))
    (first, second) = await request(ledger, "messages", key="a")
    assert (first["published_at"], second["published_at"]) == (None, None)
    lag = await request(ledger, "lag")
    assert lag["topics"] is None
    assert "away" in lag["outage"]
    assert lag["outbox"]["messages"] == 2
    assert lag["outbox"]["oldest_seconds"] >= 0
    broker.away = False
    lag = await request(ledger, "lag")
    assert (lag["topics"].keys(), lag["outage"]) == ({Book.topic, Booked.topic}, None)


async def test_nothing_is_behind_when_all_is_handled(ledger: Launched) -> None:
    await ledger.send(Book(account="a", number=1))
    lag = await request(ledger, "lag")
    assert lag == {
        "topics": dict.fromkeys(lag["topics"], 0),
        "outage": None,
        "outbox": {"messages": 0, "oldest_seconds": None},
    }


async def test_what_came_in_is_told_by_id_and_what_is_dead_lettered_with_its_reason(
    ledger: Launched, world: Outside
) -> None:
    world.broken = frozenset({2})
    good, bad, skipped = (
        ledger.envelope(it) for it in (Book(account="a", number=1), Book(account="b", number=2), Forgotten(account="a"))
    )
    await ledger.send(good, bad, skipped)
    answer = await handled(ledger, good.id, bad.id, skipped.id, new_id())
    found = {it["id"]: it for it in answer["messages"]}
    assert found.keys() == {str(good.id), str(bad.id)}
    assert found[str(good.id)]["dead_lettered"] is None
    assert "2 cannot be booked" in found[str(bad.id)]["dead_lettered"]
    assert all(datetime.fromisoformat(it["received_at"]) for it in found.values())
    assert Book.wire_type in answer["subscribes"]
    assert Forgotten.wire_type not in answer["subscribes"]


async def follow(ledger: Launched, after: str, **wanted: Any) -> tuple[list[tuple[str, int]], str]:
    """All that was published after a moment, page by page."""
    found: list[tuple[str, int]] = []
    while True:
        page = await request(ledger, "messages/published", after=after, **wanted)
        found += numbers(page["messages"])
        if page["next_after"] == after or not page["messages"]:
            return found, page["next_after"]
        after = page["next_after"]


async def test_each_published_message_is_told_once_and_in_order_from_now_on(ledger: Launched) -> None:
    await ledger.send(Book(account="a", number=1))
    start = await request(ledger, "messages/published")
    assert start["messages"] == []
    for number in range(2, 8):
        await ledger.send(Book(account="a", number=number), Book(account="b", number=number))
    everything = [(account, number) for number in range(2, 8) for account in ("a", "b")]
    assert (await follow(ledger, start["next_after"]))[0] == everything
    assert (await follow(ledger, start["next_after"], limit=1))[0] == everything
    of_a, after = await follow(ledger, start["next_after"], key="a", type=Booked.wire_type)
    assert of_a == [("a", number) for number in range(2, 8)]
    assert (await follow(ledger, start["next_after"], type=Book.wire_type))[0] == []
    await ledger.send(Book(account="a", number=8))
    assert (await follow(ledger, after))[0] == [("a", 8)]


async def test_what_a_relay_is_about_to_commit_is_told_later_and_not_left_out(ledger: Launched) -> None:
    """A relay takes its moment at the beginning of its transaction; a reader asks before the end of it."""
    after = (await request(ledger, "messages/published"))["next_after"]
    slow = await ledger.instance.database.connect()
    try:
        moving = slow.transaction()
        await moving.start()
        await slow.execute(
            "INSERT INTO outbox_history (position, shard, topic, key, id, type, source, time, body, correlation_id)"
            " VALUES (1000, 0, 't', 'slow', $1, 'x', 'ledger', now(), $2, 'c')",
            new_id(),
            Booked(account="slow", number=0, balance=0).model_dump_json().encode(),
        )
        await ledger.send(Book(account="quick", number=1))
        found, after = await follow(ledger, after)
        assert found == []
        await moving.commit()
    finally:
        await slow.close()
    assert (await follow(ledger, after))[0] == [("slow", 0), ("quick", 1)]


async def test_without_a_history_it_says_so(launch: Launch) -> None:
    ledger = await launch(service, OUTBOX_HISTORY=False)
    async with ledger.as_staff() as operator:
        answer = await operator.get("/internal/messages/published")
    assert (answer.status_code, answer.json()["code"]) == (409, "history_disabled")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "messages?key=a%00", 422),
        ("GET", "messages/published?after=yesterday", 422),
        ("GET", "messages/published?limit=0", 422),
        ("GET", "messages/published?limit=1001", 422),
        ("POST", "messages/handled", 422),
    ],
)
async def test_what_does_not_fit_is_a_problem(ledger: Launched, method: str, path: str, status: int) -> None:
    async with ledger.as_staff() as operator:
        answer = await operator.request(method, f"/internal/{path}")
    assert (answer.status_code, answer.json()["code"]) == (status, "invalid_input")


@pytest.mark.parametrize("path", ["messages", "messages/published", "lag"])
async def test_only_an_operator_may_ask(ledger: Launched, path: str) -> None:
    async with ledger.as_customer() as customer:
        assert (await customer.get(f"/internal/{path}")).status_code == 403


FILL = """
INSERT INTO outbox_history (position, shard, topic, key, id, type, source, time, body, correlation_id, published_at)
SELECT i, 0, 't', md5((i / 5)::text), gen_random_uuid(), 'x', 'ledger', now(), '', md5((i / 20)::text),
now() + i % 3 * interval '1 day' FROM generate_series(1, 20000) i
"""
PLANNED = [
    (message_log._sent, "text, text[]", "NULL, NULL"),
    (
        message_log._published,
        "timestamptz, timestamptz, text, text, bigint",
        "'-infinity', 'infinity', NULL, NULL, 1000",
    ),
]


@pytest.mark.parametrize(("sql", "types", "values"), PLANNED, ids=["about", "published"])
async def test_a_large_history_is_not_read_whole(ledger: Launched, sql: str, types: str, values: str) -> None:
    """Two days of messages, and the first one's, which have no partition of their own: each is read by an index."""
    async with ledger.instance.database.work() as work:
        await work.execute(FILL)
        await work.execute("ANALYZE outbox_history")
        await work.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await work.execute(f"PREPARE it ({types}) AS {sql}")
        plan = "\n".join(row[0] for row in await work.execute(f"EXPLAIN EXECUTE it ({values})"))
        await work.execute("DEALLOCATE it")
    assert len(re.findall(r"Scan .*on outbox_history_\w+ outbox_history_", plan)) == 3, plan
    assert "Seq Scan on outbox_history" not in plan
