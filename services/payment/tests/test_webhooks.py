"""Webhooks of the provider: they make us ask, whatever their order and number, and forged ones do nothing."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from chassis.messaging.message import Message
from chassis.tables import new_id
from chassis.testing import Launched
from contracts.payment import PaymentAuthorized, PaymentCaptured, PaymentRefunded
from payment.models import Attempt, Payment

from .money import CENTS, SECRET, check_money, command, eventually_held, listed, pay, put_off, send, signed

TYPES = ["authorized", "declined", "captured", "voided", "refunded"]


def news(status: str, order_id: UUID) -> dict[str, Any]:
    return {"type": f"payment.{status}", "id": "pay_1", "reference": str(order_id), "status": status}


async def tell(payment: Launched, request: dict[str, Any]) -> httpx.Response:
    async with payment.client() as client:
        return await client.post("/hooks/provider", **request)


@pytest.mark.parametrize("status", TYPES)
async def test_news_makes_us_ask_and_only_the_answer_counts(
    payment: Launched, provider: httpx.AsyncClient, status: str
) -> None:
    """Even a lie, or news of something that happened later or not at all."""
    order_id = new_id()
    await put_off(payment, provider, order_id)
    assert (await tell(payment, signed(news(status, order_id)))).status_code == 204
    await send(payment)
    assert [type(event) for event in await payment.sent()] == [PaymentAuthorized]
    assert [it.state for it in await payment.rows(Payment)] == ["authorized"]


async def test_a_storm_of_webhooks_moves_money_once(payment: Launched, provider: httpx.AsyncClient) -> None:
    """All kinds, many times at once, while the outcome of each command is unknown and after it is known."""
    order_id = new_id()
    for letter in "ACR":
        await payment.broker.publish([payment.envelope(command(letter, order_id, "tok_slow"))])
        storm = [tell(payment, signed(news(status, order_id))) for status in TYPES * 5]
        assert {answer.status_code for answer in await asyncio.gather(*storm)} == {204}
        await send(payment)
    expected: list[type[Message]] = [PaymentAuthorized, PaymentCaptured, PaymentRefunded]
    assert [type(event) for event in await payment.sent()] == expected
    await check_money(payment, provider, [order_id])


async def test_the_provider_itself_calls_back(payment: Launched, provider: httpx.AsyncClient) -> None:
    """Its answer is lost, and we would not ask for an hour: its webhook is what brings the outcome."""
    hook = {"provider_webhook_url": f"{payment.url}/hooks/provider", "provider_webhook_secret": SECRET}
    told = {**hook, "provider_webhook_seconds": 0.5, "faults": {"webhook_duplicate": 1}}
    (await provider.put("/settings", json=told)).raise_for_status()
    order_id = new_id()
    await put_off(payment, provider, order_id)
    await send(payment)
    assert [type(event) for event in await payment.sent()] == [PaymentAuthorized]


async def test_late_news_of_what_is_known_asks_nothing(payment: Launched, provider: httpx.AsyncClient) -> None:
    order_id = await pay(payment, "AC")
    before = await payment.rows(Attempt)
    (seen,) = await listed(provider, order_id)
    for status in TYPES:
        assert (await tell(payment, signed(news(status, order_id)))).status_code == 204
    await payment.settled()
    assert await payment.rows(Attempt) == before
    assert await listed(provider, order_id) == [seen]


async def test_news_before_the_answer_to_our_own_call(payment: Launched, provider: httpx.AsyncClient) -> None:
    order_id = new_id()
    await payment.broker.publish([payment.envelope(command("A", order_id, "tok_slow"))])
    await eventually_held(provider, order_id)
    assert (await tell(payment, signed(news("authorized", order_id)))).status_code == 204
    await send(payment)
    assert [type(event) for event in await payment.sent()] == [PaymentAuthorized]
    assert [it["amount_cents"] for it in await listed(provider, order_id)] == [CENTS]


REFUSED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no signature": lambda request: request["headers"].clear(),
    "another signature": lambda request: request["headers"].update({"webhook-signature": "v1,AAAA"}),
    "no base64": lambda request: request["headers"].update({"webhook-signature": "v1,é".encode()}),
    "another id": lambda request: request["headers"].update({"webhook-id": "msg_other"}),
    "another body": lambda request: request.update(content=request["content"].replace(b"captured", b"refunded")),
    "not text": lambda request: request.update(content=b"\xff\xfe"),
    "another secret": lambda request: request.update(signed(request["content"], secret="b3RoZXI=")),
    "too old": lambda request: request.update(signed(request["content"], age=timedelta(minutes=6))),
    "too new": lambda request: request.update(signed(request["content"], age=-timedelta(minutes=6))),
}
UNREADABLE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no JSON": lambda request: request.update(signed(b"not json")),
    "nothing in it": lambda request: request.update(signed(b"{}")),
}


@pytest.mark.parametrize("how", [*REFUSED, *UNREADABLE])
async def test_a_webhook_that_is_not_the_providers_changes_nothing(
    payment: Launched, provider: httpx.AsyncClient, how: str
) -> None:
    order_id = new_id()
    await put_off(payment, provider, order_id)
    before = await payment.rows(Attempt)
    request = signed(news("captured", order_id))
    {**REFUSED, **UNREADABLE}[how](request)
    answer = await tell(payment, request)
    expected = (401, "signature_refused") if how in REFUSED else (422, "invalid_input")
    assert (answer.status_code, answer.json()["code"]) == expected
    assert await payment.rows(Attempt) == before


async def test_news_of_a_stranger_is_taken_and_said(payment: Launched, caplog: pytest.LogCaptureFixture) -> None:
    assert (await tell(payment, signed(news("captured", new_id())))).status_code == 204
    assert "the provider speaks of a payment that is not ours" in caplog.messages
    assert await payment.rows(Payment) == []
