"""Refunds: partial and full, repeated and concurrent, before the capture, refused, and before a void."""

import asyncio
from uuid import UUID

import httpx
import pytest

from chassis.database import new_id
from chassis.message import Message
from chassis.testing import Launched
from contracts.payment import PaymentRefunded, PaymentRefundRefused, PaymentVoided, RefundPayment
from payment.models import Attempt, Payment, Refund

from .money import CENTS, answers, check_money, command, listed, pay, send, states

TROUBLED_CARDS = ["tok_visa", "tok_unavailable", "tok_breaks", "tok_slow"]


def refund(order_id: UUID, cents: int, refund_id: UUID | None = None) -> RefundPayment:
    return RefundPayment(order_id=order_id, refund_id=refund_id or new_id(), amount_cents=cents)


async def refunded_at_the_provider(provider: httpx.AsyncClient, order_id: UUID) -> int:
    (it,) = await listed(provider, order_id)
    return int(it["refunded_cents"])


def result_of(event: Message) -> object:
    match event:
        case PaymentRefunded():
            return event.amount_cents
        case PaymentRefundRefused():
            return event.reason
    return type(event)


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        ([CENTS], [CENTS]),
        ([CENTS + 1], ["more_than_captured"]),
        ([400, 600], [400, 600]),
        ([400, 601, 600, 1], [400, "more_than_captured", 600, "more_than_captured"]),
        ([0], ["nothing_to_refund"]),
        ([-1], ["nothing_to_refund"]),
    ],
)
async def test_never_more_than_was_captured(
    payment: Launched, provider: httpx.AsyncClient, amounts: list[int], expected: list[object]
) -> None:
    """One after the other, and for another payment all at once."""
    orders = [await pay(payment, "AC"), await pay(payment, "AC")]
    for cents in amounts:
        await send(payment, refund(orders[0], cents))
    await send(payment, *(refund(orders[1], cents) for cents in amounts))
    events = await answers(payment)
    assert [result_of(event) for event in events[orders[0]][2:]] == expected
    assert sorted(str(result_of(event)) for event in events[orders[1]][2:]) == sorted(map(str, expected))
    for order_id in orders:
        assert await refunded_at_the_provider(provider, order_id) == sum(it for it in expected if isinstance(it, int))
    await check_money(payment, provider, orders)


@pytest.mark.parametrize("token", TROUBLED_CARDS)
async def test_a_refund_id_is_refunded_once(payment: Launched, provider: httpx.AsyncClient, token: str) -> None:
    """With every kind of fault, and with repeated commands before and after the outcome."""
    order_id = await pay(payment, "AC", token)
    once = refund(order_id, 400)
    await send(payment, once, once, once)
    await send(payment, once)
    events = await payment.sent(PaymentRefunded, PaymentRefundRefused)
    assert {result_of(event) for event in events} == {400}
    assert await refunded_at_the_provider(provider, order_id) == 400
    assert [it.kind for it in await payment.rows(Attempt)] == ["authorize", "capture", "refund"]


async def test_the_amount_of_a_refused_refund_can_be_refunded_under_another_id(
    payment: Launched, provider: httpx.AsyncClient
) -> None:
    order_id = await pay(payment, "AC", "tok_not_refunded")
    refused = refund(order_id, CENTS)
    await send(payment, refused)
    (await provider.put("/settings", json={"cards": {"tok_not_refunded": {}}})).raise_for_status()
    await send(payment, refused)
    await send(payment, refund(order_id, CENTS))
    events = await payment.sent(PaymentRefunded, PaymentRefundRefused)
    assert [result_of(event) for event in events] == ["account_closed", "account_closed", CENTS]
    await check_money(payment, provider, [order_id])


@pytest.mark.parametrize(
    ("token", "outcome"), [("tok_slow", 400), ("tok_not_captured", "capture_refused")], ids=["captured", "refused"]
)
async def test_an_early_refund_waits_for_the_capture(
    payment: Launched, provider: httpx.AsyncClient, token: str, outcome: object
) -> None:
    order_id = await pay(payment, "A", token)
    await send(payment, command("C", order_id), refund(order_id, 400))
    events = await payment.sent(PaymentRefunded, PaymentRefundRefused)
    assert [result_of(event) for event in events] == [outcome]
    assert [it.refund_requested_cents for it in await payment.rows(Payment)] == [400 if outcome == 400 else 0]
    await check_money(payment, provider, [order_id])


@pytest.mark.parametrize("token", TROUBLED_CARDS)
async def test_a_void_waits_for_refunds_and_refunds_the_rest(
    payment: Launched, provider: httpx.AsyncClient, token: str
) -> None:
    """A refund that comes after the void is refused, because the void refunds all that is left."""
    order_id = await pay(payment, "AC", token)
    await send(payment, refund(order_id, 400), refund(order_id, 100), command("V", order_id), refund(order_id, 50))
    events = [result_of(event) for event in (await answers(payment))[order_id][2:]]
    assert events[0] == "voiding"
    assert sorted(map(str, events[1:3])) == ["100", "400"]
    assert events[3:] == [PaymentVoided]
    assert await refunded_at_the_provider(provider, order_id) == CENTS
    async with payment.as_staff() as staff:
        totals = (await staff.get("/totals")).json()
    assert (totals["captured_cents"], totals["refunded_cents"], totals["voided_cents"]) == (0, 500, 500)
    await check_money(payment, provider, [order_id])


async def test_a_void_after_a_full_refund_makes_no_request(payment: Launched, provider: httpx.AsyncClient) -> None:
    order_id = await pay(payment, "AC")
    await send(payment, refund(order_id, CENTS))
    await send(payment, command("V", order_id))
    assert await states(payment) == {order_id: "voided"}
    assert [it.kind for it in await payment.rows(Attempt)] == ["authorize", "capture", "refund"]
    await check_money(payment, provider, [order_id])


async def test_many_concurrent_refunds(payment: Launched, provider: httpx.AsyncClient) -> None:
    """Thirty refunds of a tenth of the payment, each sent twice: ten are made."""
    order_id = await pay(payment, "AC")
    requested = [refund(order_id, CENTS // 10) for _ in range(30)]
    await asyncio.gather(*(payment.broker.publish([payment.envelope(it)] * 2) for it in requested))
    await send(payment)
    assert await refunded_at_the_provider(provider, order_id) == CENTS
    assert sorted(it.state for it in await payment.rows(Refund)) == ["refunded"] * 10 + ["refused"] * 20
    await check_money(payment, provider, [order_id])
