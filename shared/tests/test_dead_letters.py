"""What operators do with parked messages, while more of the same key keep coming."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from chassis.database import UnitOfWork, new_id
from chassis.messaging.consumer import Consumer
from chassis.messaging.dead_letters import DeadLetterQueue
from chassis.testing import Launched
from ledger.handlers import Outside
from ledger.messages import Book, Booked
from ledger.models import Account
from ledger.waiting import until

Inside = Callable[[UnitOfWork, int], Any]


async def send(ledger: Launched, *numbers: int) -> None:
    await ledger.send(*(Book(account="a", number=number) for number in numbers))


async def request(ledger: Launched, method: str, path: str = "", **params: Any) -> httpx.Response:
    async with ledger.as_staff() as operator:
        return await operator.request(method, f"/internal/dead-letters{path}", params=params)


async def dead_letters(ledger: Launched, **params: Any) -> list[int]:
    """The numbers of the parked bookings."""
    return [Book.model_validate_json(it["body"]).number for it in (await request(ledger, "GET", **params)).json()]


async def booked(ledger: Launched) -> list[int]:
    """In the order of the account, which is that of the announcements too."""
    await ledger.settled()
    history = [number for account in await ledger.rows(Account) for number in account.history]
    assert [it.model_dump()["number"] for it in await ledger.sent(Booked)] == history
    return history


async def test_a_message_is_shown_whole_by_its_key_or_its_id(ledger: Launched, world: Outside) -> None:
    world.broken = frozenset({1})
    await send(ledger, 1, 2)
    await ledger.send(Book(account="b", number=1))
    first, second = (await request(ledger, "GET", about="a")).json()
    assert (first["key"], first["type"], first["source"], first["topic"]) == ("a", Book.wire_type, "test", Book.topic)
    assert "1 cannot be booked" in first["reason"]
    assert '"number":1' in first["body"]
    assert (await request(ledger, "GET", about=second["id"])).json() == [second]
    assert (await request(ledger, "GET", about="nobody")).json() == []


async def test_a_page_begins_after_a_position(ledger: Launched, world: Outside) -> None:
    world.broken = frozenset({1})
    await send(ledger, 1, 2, 3)
    first, second, third = (await request(ledger, "GET")).json()
    assert (await request(ledger, "GET", after=first["position"])).json() == [second, third]
    assert (await request(ledger, "GET", after=third["position"])).json() == []


async def test_drop_takes_the_first_of_a_key_and_the_rest_goes_on_in_order(ledger: Launched, world: Outside) -> None:
    world.broken = frozenset({2})
    await send(ledger, 1, 2, 3, 4)
    dropped = await request(ledger, "POST", "/a/drop")
    assert (dropped.status_code, Book.model_validate_json(dropped.json()["body"]).number) == (200, 2)
    assert await dead_letters(ledger) == [3, 4]
    await send(ledger, 5)
    assert await booked(ledger) == [1]
    assert (await request(ledger, "POST", "/a/replay")).json() == {"replayed": 3}
    assert await booked(ledger) == [1, 3, 4, 5]


async def test_the_key_is_free_when_its_only_message_is_dropped(ledger: Launched, world: Outside) -> None:
    world.broken = frozenset({1})
    await send(ledger, 1)
    await request(ledger, "POST", "/a/drop")
    await send(ledger, 2)
    assert await booked(ledger) == [2]


async def test_what_was_dropped_does_not_come_again_with_a_double(ledger: Launched, world: Outside) -> None:
    world.broken = frozenset({1})
    envelope = ledger.envelope(Book(account="a", number=1))
    await ledger.send(envelope)
    await request(ledger, "POST", "/a/drop")
    world.broken = frozenset()
    await ledger.send(envelope)
    assert (await booked(ledger), await dead_letters(ledger)) == ([], [])


async def test_two_operators_who_drop_the_same_message_drop_one(ledger: Launched, world: Outside) -> None:
    world.broken = frozenset({1})
    await send(ledger, 1, 2, 3)
    first = (await request(ledger, "GET")).json()[0]["id"]
    answers = await asyncio.gather(*(request(ledger, "POST", "/a/drop", id=first) for _ in range(2)))
    assert sorted(it.status_code for it in answers) == [200, 409]
    assert {it.json()["code"] for it in answers if it.is_error} == {"not_first_dead_letter"}
    assert await dead_letters(ledger) == [2, 3]


@pytest.mark.parametrize(
    ("method", "path", "params", "status", "code"),
    [
        ("POST", "/nobody/drop", {}, 404, "dead_letter_not_found"),
        ("POST", "/nobody/replay", {}, 404, "dead_letter_not_found"),
        ("POST", "/a/drop", {"id": "seven"}, 422, "invalid_input"),
        ("POST", "/a/drop", {"id": str(new_id())}, 409, "not_first_dead_letter"),
        ("GET", "", {"after": "yesterday"}, 422, "invalid_input"),
        ("GET", "", {"after": -1}, 422, "invalid_input"),
        ("GET", "", {"about": "a\0"}, 422, "invalid_input"),
    ],
)
async def test_what_cannot_be_done_is_a_problem_and_changes_nothing(
    ledger: Launched, world: Outside, method: str, path: str, params: dict[str, Any], status: int, code: str
) -> None:
    world.broken = frozenset({1})
    await send(ledger, 1)
    answer = await request(ledger, method, path, **params)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await dead_letters(ledger) == [1]


async def test_only_an_operator_may_drop(ledger: Launched, world: Outside) -> None:
    world.broken = frozenset({1})
    await send(ledger, 1)
    async with ledger.as_customer() as customer:
        assert (await customer.post("/internal/dead-letters/a/drop")).status_code == 403
    assert await dead_letters(ledger) == [1]


async def somebody_waits(ledger: Launched) -> bool:
    """Whether a transaction waits for another one's lock."""
    blocked = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
    )
    async with ledger.instance.database.work() as work:
        return bool(await work.read(blocked))


@pytest.mark.parametrize("waiting", [1, 3], ids=["at the last parked message", "at the first of several"])
async def test_a_message_that_comes_in_the_middle_of_a_replay_is_handled_after_it(
    ledger: Launched, world: Outside, monkeypatch: pytest.MonkeyPatch, waiting: int
) -> None:
    """The replay has handled a message and not yet committed; the consumer waits for it rather than overtake it."""
    world.broken = frozenset({1})
    await send(ledger, *range(1, waiting + 1))
    world.broken = frozenset()
    handlers, handled, go_on = Consumer.run_handlers, asyncio.Event(), asyncio.Event()

    async def run_handlers(self: Consumer, work: UnitOfWork, messages: Any) -> None:
        await handlers(self, work, messages)
        if any(message.number == 1 for _, message in messages):
            handled.set()
            await go_on.wait()

    monkeypatch.setattr(Consumer, "run_handlers", run_handlers)
    replaying = asyncio.create_task(request(ledger, "POST", "/a/replay"))
    await handled.wait()
    sending = asyncio.create_task(send(ledger, waiting + 1, waiting + 2))
    await until(lambda: somebody_waits(ledger))
    assert await booked(ledger) == []
    go_on.set()
    assert (await replaying).status_code == 200
    await sending
    assert await booked(ledger) == list(range(1, waiting + 3))
    assert await dead_letters(ledger) == []


async def test_a_replay_waits_for_a_batch_that_is_parking_more_of_the_key(
    ledger: Launched, world: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch has seen that the key is parked: the replay must not free it before the batch is through."""
    world.broken = frozenset({1})
    await send(ledger, 1)
    world.broken = frozenset()
    keep, parking, go_on = DeadLetterQueue.add, asyncio.Event(), asyncio.Event()

    async def slow_keep(self: DeadLetterQueue, *arguments: Any) -> None:
        await keep(self, *arguments)
        parking.set()
        await go_on.wait()

    monkeypatch.setattr(DeadLetterQueue, "add", slow_keep)
    sending = asyncio.create_task(send(ledger, 2))
    await parking.wait()
    replaying = asyncio.create_task(request(ledger, "POST", "/a/replay"))
    await until(lambda: somebody_waits(ledger))
    assert not replaying.done()
    go_on.set()
    await sending
    assert (await replaying).json() == {"replayed": 2}
    assert await booked(ledger) == [1, 2]
    assert await dead_letters(ledger) == []


async def test_replays_among_a_stream_of_messages_keep_the_order(ledger: Launched, world: Outside) -> None:
    """Two operators replay all the time while messages come one by one, one in five of which fails at first."""
    last = 60
    world.broken = frozenset(range(0, last, 5))
    over = asyncio.Event()

    async def replay() -> None:
        while not over.is_set():
            world.broken = frozenset(sorted(world.broken)[1:])
            await request(ledger, "POST", "/a/replay")

    async with asyncio.TaskGroup() as operators:
        for _ in range(2):
            operators.create_task(replay())
        for number in range(last):
            await send(ledger, number)
        over.set()
    world.broken = frozenset()
    while await dead_letters(ledger):
        await request(ledger, "POST", "/a/replay")
    assert await booked(ledger) == list(range(last))
