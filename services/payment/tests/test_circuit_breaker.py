"""When the provider is not called: the circuit breaker, the retry budget, and how attempts continue afterwards."""

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import httpx
import pytest

from chassis.config import Settings
from chassis.database import new_id
from chassis.jobs import Tasks
from chassis.resilience import CallRejected, CircuitBreaker, retry_budget
from chassis.resilience.retry_budget import RetryBudget
from chassis.testing import Launch, Launched
from contracts.payment import PaymentAuthorized
from payment.main import service
from payment.models import Attempt
from simulators.server import Simulators

from .money import check_money, command, send, settings


def guarded(failures: int, seconds: float) -> CircuitBreaker:
    its = SimpleNamespace(breaker_failures=failures, breaker_seconds=seconds)
    return CircuitBreaker(cast(Settings, its))


async def fail(it: CircuitBreaker, *, retry: bool = False) -> None:
    with pytest.raises(httpx.ConnectError):
        async with it.call(retry=retry):
            raise httpx.ConnectError("unavailable")


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
    with pytest.raises(CallRejected):
        await it.call(retry=False).__aenter__()
    now += 11
    await fail(it)
    with pytest.raises(CallRejected):
        await it.call(retry=False).__aenter__()
    now += 11
    for _ in range(2):
        async with it.call(retry=False):
            pass
        await fail(it)


async def test_an_empty_retry_budget_stops_retries_but_no_first_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    it = guarded(failures=10_000, seconds=1)
    for _ in range(retry_budget.MAX_TOKENS):
        await fail(it, retry=True)
    with pytest.raises(CallRejected, match="budget"):
        await it.call(retry=True).__aenter__()
    await fail(it)
    async with it.call(retry=False):
        pass
    for _ in range(retry_budget.TOKENS_PER_SUCCESS):
        await fail(it, retry=True)
    with pytest.raises(CallRejected, match="budget"):
        await it.call(retry=True).__aenter__()


def test_the_retry_budget_refills(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    budget = RetryBudget()
    while budget.take():
        pass
    now = 1.5
    assert [budget.take(), budget.take()] == [True, False]
    now = 10_000
    assert sum(budget.take() for _ in range(1_000)) == retry_budget.MAX_TOKENS


@pytest.fixture
async def payment(launch: Launch, outside: Simulators) -> Launched:
    """Payment with a circuit breaker that opens."""
    values = settings(outside) | {"BREAKER_FAILURES": 20}
    return await launch(replace(service, tasks=Tasks()), **values)


async def test_while_the_breaker_is_open_attempts_wait_and_then_go_through(
    payment: Launched, provider: httpx.AsyncClient
) -> None:
    """The provider is unavailable; when it is back, every request is made, once."""
    (await provider.put("/settings", json={"faults": {"unavailable": 1}})).raise_for_status()
    orders = [new_id() for _ in range(60)]
    await payment.send(*(command("A", id) for id in orders))
    breakers = payment.instance.runtime.resource(CircuitBreaker)._breakers
    assert (await breakers.get_breaker("outside")).context.state == "opened"
    assert {it.outcome for it in await payment.rows(Attempt)} == {None}
    (await provider.put("/settings", json={"faults": "none"})).raise_for_status()
    await send(payment)
    assert [type(event) for event in await payment.sent()] == [PaymentAuthorized] * 60
    await check_money(payment, provider, orders)
