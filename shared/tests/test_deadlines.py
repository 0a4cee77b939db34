"""Rows whose time has come: handled once, called for outside of any transaction, and put off when they fail."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from chassis.database import Causation
from chassis.jobs.sweeper import DeadlineSweeper
from chassis.testing import Launched
from ledger.handlers import INTEREST, LEASE_SECONDS, Outside
from ledger.main import service
from ledger.messages import Book, Printed
from ledger.models import Account
from ledger.waiting import until


@pytest.fixture
def opened(ledger: Launched) -> Callable[..., Awaitable[None]]:
    async def open_accounts(count: int, column: str, in_seconds: float = 0) -> None:
        async with ledger.instance.database.work() as work:
            await work.begin()
            for number in range(count):
                moment = work.now + timedelta(seconds=in_seconds)
                work.add(Account.new(id=f"{number:03}", balance=number, history=[], **{column: moment}))

    return open_accounts


async def accounts(ledger: Launched) -> list[Account]:
    return sorted(await ledger.rows(Account), key=lambda account: account.id)


async def test_a_moment_is_met_when_it_comes_and_not_before(
    ledger: Launched, opened: Callable[..., Awaitable[None]]
) -> None:
    await opened(1, "interest_at", in_seconds=0.7)
    started = time.monotonic()
    assert [account.history for account in await accounts(ledger)] == [[]]

    async def paid() -> bool:
        return [account.history for account in await accounts(ledger)] == [[INTEREST]]

    await until(paid)
    assert 0.5 < time.monotonic() - started < 3


async def test_many_due_rows_are_handled_once_by_several_sweepers(
    ledger: Launched, opened: Callable[..., Awaitable[None]]
) -> None:
    database = ledger.instance.database
    (entry,) = (it for it in service.deadlines.entries if it.column == "interest_at")
    stop = asyncio.Event()
    sweepers = [asyncio.create_task(DeadlineSweeper(database, entry, None).run(stop)) for _ in range(3)]
    await opened(350, "interest_at")
    await ledger.settled()
    stop.set()
    await asyncio.gather(*sweepers)
    assert {tuple(account.history) for account in await accounts(ledger)} == {(INTEREST,)}


async def test_a_row_that_fails_is_put_off_and_keeps_back_no_other(
    ledger: Launched, world: Outside, opened: Callable[..., Awaitable[None]]
) -> None:
    world.broken = frozenset({0, 7})
    await opened(20, "interest_at")
    await ledger.settled()
    found = await accounts(ledger)
    assert [account.balance for account in found if account.history != [INTEREST]] == [0, 7]
    async with ledger.instance.database.work() as work:
        await work.begin()
        for account in found:
            assert (account.interest_at is not None) == (account.balance in world.broken)
            assert account.interest_at is None or account.interest_at > work.now + timedelta(seconds=20)


async def test_a_call_is_made_outside_of_any_transaction_and_its_outcome_is_kept(
    ledger: Launched, world: Outside, opened: Callable[..., Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    async def print_(account: Account, runtime: Any) -> str:
        async with runtime.database.work() as work:  # would wait for a row lock that the call's own sweep holds
            (row,) = await work.lock(Account, id=[account.id])
            lease = row.statement_at - work.now
            seen.append((account.id, timedelta(0) < lease <= timedelta(seconds=LEASE_SECONDS)))
        return f"printed {account.balance}"

    monkeypatch.setattr(world, "print", print_)
    await opened(3, "statement_at")
    await ledger.settled()
    assert sorted(seen) == [("000", True), ("001", True), ("002", True)]
    assert [(it.statement_at, it.statement) for it in await accounts(ledger)] == [
        (None, f"printed {number} (printed)") for number in range(3)
    ]
    assert len(await ledger.sent(Printed)) == 3


@pytest.mark.parametrize("trouble", ["raises", "hangs"])
async def test_a_call_without_an_outcome_is_made_again_after_its_lease(
    ledger: Launched,
    world: Outside,
    opened: Callable[..., Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
) -> None:
    called: list[float] = []

    async def print_(account: Account, _: Any) -> str:
        called.append(time.monotonic())
        if len(called) < 3 and trouble == "raises":
            raise ConnectionError("out of paper")
        if len(called) < 3:
            await asyncio.sleep(60)
        return "at last"

    monkeypatch.setattr(world, "print", print_)
    started = time.monotonic()
    await opened(1, "statement_at")

    async def kept() -> bool:
        return [it.statement for it in await accounts(ledger)] == ["at last (printed)"]

    await until(kept)
    assert len(called) == 3
    assert all(moment - started >= LEASE_SECONDS * number for number, moment in enumerate(called))


async def test_an_outcome_that_comes_after_its_lease_is_left_to_whoever_took_the_row_since(
    ledger: Launched, world: Outside, opened: Callable[..., Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def print_(account: Account, runtime: Any) -> str:
        async with runtime.database.work() as work:
            (row,) = await work.lock(Account, id=[account.id])
            row.statement_at = work.now + timedelta(hours=1)  # as another process would
        return "too late"

    monkeypatch.setattr(world, "print", print_)
    await opened(1, "statement_at")
    await ledger.settled()
    (account,) = await accounts(ledger)
    assert account.statement is None
    assert await ledger.sent(Printed) == []


async def test_one_outcome_that_cannot_be_kept_keeps_back_no_other(
    ledger: Launched, world: Outside, opened: Callable[..., Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = asyncio.Event()
    calls: list[str] = []

    async def print_(account: Account, _: Any) -> str:
        calls.append(account.id)
        if len(calls) == 10:
            together.set()
        await together.wait()
        return "text"

    monkeypatch.setattr(world, "print", print_)
    world.broken = frozenset({4})
    await opened(10, "statement_at")

    async def others_kept() -> bool:
        return [it.balance for it in await accounts(ledger) if it.statement is None] == [4]

    async def all_kept() -> bool:
        return all(it.statement for it in await accounts(ledger))

    await until(others_kept)
    await until(lambda: calls.count("004") > 1)
    assert len(calls) - calls.count("004") == 9
    world.broken = frozenset()
    await until(all_kept)


async def test_what_is_done_later_still_knows_its_cause(ledger: Launched) -> None:
    (command,) = [ledger.envelope(Book(account="a", number=1, statement=True))]
    await ledger.send(command)
    (account,) = await accounts(ledger)
    cause = Causation.from_row(account)
    assert cause is not None
    assert (cause.id, cause.correlation_id) == (str(command.id), command.correlation_id)
    async with ledger.instance.database.work() as work:
        rows = await work.read("SELECT type, causation_id, correlation_id FROM outbox_history ORDER BY position")
    assert {(row["causation_id"], row["correlation_id"]) for row in rows} == {(str(command.id), command.correlation_id)}
    assert [row["type"] for row in rows] == ["ledger.booked.v1", "ledger.printed.v1"]
