"""The provider is not called when that makes no sense: the breaker, the budget of retries, and what comes after."""

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import httpx
import pytest

from chassis import guard
from chassis.config import Settings
from chassis.guard import Guard, PutOff, RetryBudget
from chassis.tables import new_id
from chassis.tasks import Tasks
from chassis.testing import Launch, Launched
from contracts.payment import PaymentAuthorized
from payment.main import service
from payment.models import Attempt
from simulators.server import Simulators

from .money import check_money, command, send, settings


def guarded(failures: int, seconds: float) -> Guard:
    its = SimpleNamespace(breaker_failures=failures, breaker_seconds=seconds)
    return Guard(cast(Settings, its))


async def fail(it: Guard, *, retry: bool = False) -> None:
    with pytest.raises(httpx.ConnectError):
        async with it.call(retry=retry):
            raise httpx.ConnectError("away")


async def test_the_breaker_opens_after_failures_in_a_row_and_one_success_closes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    it = guarded(failures=3, seconds=10)
    for _ in range(2):
        await fail(it)
    async with it.call(retry=False):
        pass
    for _ in range(3):
        await fail(it)
    with pytest.raises(PutOff):
        await it.call(retry=False).__aenter__()
    now += 11
    await fail(it)
    with pytest.raises(PutOff):
        await it.call(retry=False).__aenter__()
    now += 11
    for _ in range(2):
        async with it.call(retry=False):
            pass
        await fail(it)


async def test_retries_dry_up_while_first_calls_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    it = guarded(failures=10_000, seconds=1)
    for _ in range(guard.MOST_TOKENS):
        await fail(it, retry=True)
    with pytest.raises(PutOff, match="budget"):
        await it.call(retry=True).__aenter__()
    await fail(it)
    async with it.call(retry=False):
        pass
    for _ in range(guard.PAID_BACK):
        await fail(it, retry=True)
    with pytest.raises(PutOff, match="budget"):
        await it.call(retry=True).__aenter__()


def test_the_budget_never_stays_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    budget = RetryBudget()
    while budget.take():
        pass
    now = 1.5
    assert [budget.take(), budget.take()] == [True, False]
    now = 10_000
    assert sum(budget.take() for _ in range(1_000)) == guard.MOST_TOKENS


@pytest.fixture
async def payment(launch: Launch, outside: Simulators) -> Launched:
    """With a breaker that opens."""
    told = settings(outside) | {"BREAKER_FAILURES": 20}
    return await launch(replace(service, tasks=Tasks()), **told)


async def test_while_the_breaker_is_open_attempts_wait_and_then_go_through(
    payment: Launched, provider: httpx.AsyncClient
) -> None:
    """The provider is down for everybody; when it is back, all that was asked for happens, once."""
    (await provider.put("/settings", json={"faults": {"unavailable": 1}})).raise_for_status()
    orders = [new_id() for _ in range(60)]
    await payment.send(*(command("A", id) for id in orders))
    breakers = payment.instance.runtime.hold(Guard)._breakers
    assert (await breakers.get_breaker("outside")).context.state == "opened"
    assert {it.outcome for it in await payment.rows(Attempt)} == {None}
    (await provider.put("/settings", json={"faults": "none"})).raise_for_status()
    await send(payment)
    assert [type(event) for event in await payment.sent()] == [PaymentAuthorized] * 60
    await check_money(payment, provider, orders)
