"""Webhooks of the provider: they repeat attempts, in any order and number, and forged ones change nothing."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from chassis.database import new_id
from chassis.message import Message
from chassis.testing import Launched
from contracts.payment import PaymentAuthorized, PaymentCaptured, PaymentRefunded
from payment.models import Attempt, Payment

from .money import CENTS, SECRET, check_money, command, eventually_held, listed, pay, postpone_attempt, send, signed

TYPES = ["authorized", "declined", "captured", "voided", "refunded"]


def webhook_body(status: str, order_id: UUID) -> dict[str, Any]:
    return {"type": f"payment.{status}", "id": "pay_1", "reference": str(order_id), "status": status}


async def post_webhook(payment: Launched, request: dict[str, Any]) -> httpx.Response:
    async with payment.client() as client:
        return await client.post("/hooks/provider", **request)


@pytest.mark.parametrize("status", TYPES)
async def test_a_webhook_repeats_the_attempt_and_only_the_answer_counts(
    payment: Launched, provider: httpx.AsyncClient, status: str
) -> None:
    """Also a webhook about something that happened later or never."""
    order_id = new_id()
    await postpone_attempt(payment, provider, order_id)
    assert (await post_webhook(payment, signed(webhook_body(status, order_id)))).status_code == 204
    await send(payment)
    assert [type(event) for event in await payment.sent()] == [PaymentAuthorized]
    assert [it.state for it in await payment.rows(Payment)] == ["authorized"]


async def test_a_burst_of_webhooks_moves_money_once(payment: Launched, provider: httpx.AsyncClient) -> None:
    """All kinds of webhooks, many times at once, while the outcome of each command is unknown and once it is known."""
    order_id = new_id()
    for letter in "ACR":
        await payment.broker.publish([payment.envelope(command(letter, order_id, "tok_slow"))])
        burst = [post_webhook(payment, signed(webhook_body(status, order_id))) for status in TYPES * 5]
        assert {answer.status_code for answer in await asyncio.gather(*burst)} == {204}
        await send(payment)
    expected: list[type[Message]] = [PaymentAuthorized, PaymentCaptured, PaymentRefunded]
    assert [type(event) for event in await payment.sent()] == expected
    await check_money(payment, provider, [order_id])


async def test_a_webhook_of_the_provider_itself(payment: Launched, provider: httpx.AsyncClient) -> None:
    """The answer was lost, and the attempt is due in an hour: the webhook brings the outcome."""
    hook = {"provider_webhook_url": f"{payment.url}/hooks/provider", "provider_webhook_secret": SECRET}
    values = {**hook, "provider_webhook_seconds": 0.5, "faults": {"webhook_duplicate": 1}}
    (await provider.put("/settings", json=values)).raise_for_status()
    order_id = new_id()
    await postpone_attempt(payment, provider, order_id)
    await send(payment)
    assert [type(event) for event in await payment.sent()] == [PaymentAuthorized]


async def test_a_late_webhook_about_a_known_outcome_makes_no_request(
    payment: Launched, provider: httpx.AsyncClient
) -> None:
    order_id = await pay(payment, "AC")
    before = await payment.rows(Attempt)
    (seen,) = await listed(provider, order_id)
    for status in TYPES:
        assert (await post_webhook(payment, signed(webhook_body(status, order_id)))).status_code == 204
    await payment.settled()
    assert await payment.rows(Attempt) == before
    assert await listed(provider, order_id) == [seen]


async def test_a_webhook_before_the_answer_to_our_own_call(payment: Launched, provider: httpx.AsyncClient) -> None:
    order_id = new_id()
    await payment.broker.publish([payment.envelope(command("A", order_id, "tok_slow"))])
    await eventually_held(provider, order_id)
    assert (await post_webhook(payment, signed(webhook_body("authorized", order_id)))).status_code == 204
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
async def test_an_unsigned_or_invalid_webhook_changes_nothing(
    payment: Launched, provider: httpx.AsyncClient, how: str
) -> None:
    order_id = new_id()
    await postpone_attempt(payment, provider, order_id)
    before = await payment.rows(Attempt)
    request = signed(webhook_body("captured", order_id))
    {**REFUSED, **UNREADABLE}[how](request)
    answer = await post_webhook(payment, request)
    expected = (401, "signature_refused") if how in REFUSED else (422, "invalid_input")
    assert (answer.status_code, answer.json()["code"]) == expected
    assert await payment.rows(Attempt) == before


async def test_a_webhook_about_an_unknown_payment_is_accepted_and_logged(
    payment: Launched, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await post_webhook(payment, signed(webhook_body("captured", new_id())))).status_code == 204
    assert "the provider sent a webhook about an unknown payment" in caplog.messages
    assert await payment.rows(Payment) == []
