"""Every fault of the provider at every kind of attempt, and all kinds of faults at the same time."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from chassis.database import new_id
from chassis.testing import Launched
from payment.models import Attempt

from .money import SECRET, check_money, command, pay, send, states

KINDS = {"authorize": ("", "A"), "capture": ("A", "C"), "void": ("AC", "V"), "refund": ("AC", "R")}
FAULTS: dict[str, dict[str, Any]] = {
    "503 before acting": {"fault": "unavailable"},
    "500 after acting": {"fault": "breaks"},
    "slow, but in time": {"fault": "late"},
    "time-out after acting": {"fault": "slow"},
}
REFUSED: dict[tuple[str, str], str] = {
    ("declined", "authorize"): "declined",
    ("not_captured", "capture"): "capture_refused",
    ("not_refunded", "refund"): "captured",
}


async def set_card(provider: httpx.AsyncClient, **card: Any) -> None:
    (await provider.put("/settings", json={"cards": {"*": card}, "late_seconds": 0.1})).raise_for_status()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", FAULTS)
async def test_a_fault_at_one_kind_of_attempt(
    payment: Launched, provider: httpx.AsyncClient, kind: str, how: str
) -> None:
    before, letter = KINDS[kind]
    order_id = await pay(payment, before)
    await set_card(provider, **FAULTS[how])
    await send(payment, command(letter, order_id))
    attempts = {it.kind: it for it in await payment.rows(Attempt)}
    assert len(attempts) == len(before) + 1
    assert (attempts[kind].tries > 0) == (how != "slow, but in time")  # type: ignore[index]  # StrEnum
    await check_money(payment, provider, [order_id])


@pytest.mark.parametrize(("why", "kind"), REFUSED)
async def test_a_refusal_at_one_kind_of_attempt(
    payment: Launched, provider: httpx.AsyncClient, why: str, kind: str
) -> None:
    before, letter = KINDS[kind]
    order_id = await pay(payment, before)
    await set_card(provider, **{why: "said_no"})
    await send(payment, command(letter, order_id))
    assert await states(payment) == {order_id: REFUSED[why, kind]}
    await check_money(payment, provider, [order_id])


async def test_an_operators_second_capture_succeeds(payment: Launched, provider: httpx.AsyncClient) -> None:
    order_id = await pay(payment, "AC", "tok_not_captured_once")
    assert await states(payment) == {order_id: "capture_refused"}
    await send(payment, command("C", order_id))
    assert await states(payment) == {order_id: "captured"}
    await check_money(payment, provider, [order_id])


async def test_all_faults_at_once_move_money_once(payment: Launched, provider: httpx.AsyncClient) -> None:
    """A share of all requests fails; webhooks come twice, late and reordered; every command comes twice."""
    hook = {"provider_webhook_url": f"{payment.url}/hooks/provider", "provider_webhook_secret": SECRET}
    seconds = {"provider_webhook_seconds": 0, "webhook_late_seconds": 0.5, "late_seconds": 0.1, "slow_seconds": 2}
    values = {**hook, **seconds, "faults": "harsh"}
    (await provider.put("/settings", json=values)).raise_for_status()
    orders = {new_id(): ("ACR", "ACV", "AV", "ACRV", "AC")[number % 5] for number in range(50)}
    for step in range(4):
        commands = [command(letters[step], id) for id, letters in orders.items() if len(letters) > step]
        await send(payment, *commands, *commands)
    (await provider.put("/settings", json={"faults": "none"})).raise_for_status()
    expected: dict[UUID, str] = {id: "voided" if "V" in it else "captured" for id, it in orders.items()}
    assert await states(payment) == expected
    await check_money(payment, provider, orders)
