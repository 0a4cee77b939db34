"""Steps that the tests of payment share."""

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
from standardwebhooks import Webhook

from chassis.database import new_id
from chassis.message import Message
from chassis.testing import Launched
from contracts.payment import AuthorizePayment, CapturePayment, RefundPayment, VoidPayment
from payment.models import Attempt, AttemptKind, Payment, PaymentState
from payment.queries import books_of_orders
from simulators.server import Simulators

CENTS, PART = 1_000, 300
SECRET = b64encode(b"shared with the provider").decode()
AT_THE_PROVIDER = {
    "authorized": {"authorized"},
    "capture_refused": {"authorized"},
    "captured": {"captured", "refunded"},
    "declined": {"declined"},
    "voided": {"voided", "refunded"},
}


def settings(outside: Simulators) -> dict[str, Any]:
    """Settings of the service: a short time limit for the provider, and a circuit breaker that does not open."""
    return {
        "PROVIDER_URL": outside.url,
        "PROVIDER_TIMEOUT_SECONDS": 0.5,
        "BREAKER_FAILURES": 1_000,
        "BREAKER_SECONDS": 0.2,
        "PROVIDER_WEBHOOK_SECRET": SECRET,
    }


def command(letter: str, order_id: UUID, token: str = "tok_visa") -> Message:
    match letter:
        case "A":
            return AuthorizePayment(order_id=order_id, amount_cents=CENTS, currency="EUR", payment_token=token)
        case "C":
            return CapturePayment(order_id=order_id)
        case "V":
            return VoidPayment(order_id=order_id)
        case _:
            return RefundPayment(order_id=order_id, refund_id=new_id(), amount_cents=PART)


async def send(payment: Launched, *messages: Message) -> None:
    """Publish, and wait until the outcome of every attempt is known and announced."""
    await payment.send(*messages)
    deadline = time.monotonic() + 60
    while any(attempt.outcome is None for attempt in await payment.rows(Attempt)):
        assert time.monotonic() < deadline, "an outcome stays unknown"
        await asyncio.sleep(0.05)
    await payment.settled()


async def pay(payment: Launched, letters: str, token: str = "tok_visa") -> UUID:
    """Send these commands for a new order, one after the other; returns the order's id."""
    order_id = new_id()
    for letter in letters:
        await send(payment, command(letter, order_id, token))
    return order_id


async def postpone_attempt(payment: Launched, provider: httpx.AsyncClient, order_id: UUID) -> None:
    """Add an attempt whose money the provider already holds, whose outcome is unknown, and that is due in an hour."""
    attempt = Attempt.new(
        id=new_id(),
        order_id=order_id,
        kind=AttemptKind.AUTHORIZE,
        amount_cents=CENTS,
        currency="EUR",
        payment_token="tok_visa",
    )
    body = {"reference": str(order_id), "amount_cents": CENTS, "currency": "EUR", "token": "tok_visa"}
    await provider.post("/payments", json=body, headers={"Idempotency-Key": str(attempt.id)})
    async with payment.instance.database.work() as work:
        await work.begin()
        attempt.due_at = work.now + timedelta(hours=1)
        state = PaymentState.AUTHORIZING
        work.add(Payment.new(order_id=order_id, amount_cents=CENTS, currency="EUR", state=state))
        work.add(attempt)


async def answers(payment: Launched) -> dict[UUID, list[Message]]:
    """The events of each order."""
    found: dict[UUID, list[Message]] = {}
    for event in await payment.sent():
        found.setdefault(cast(Any, event).order_id, []).append(event)
    return found


async def listed(provider: httpx.AsyncClient, order_id: UUID) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await provider.get("/payments", params={"reference": str(order_id)})).json()
    return found


async def at_the_provider(provider: httpx.AsyncClient, order_id: UUID) -> list[str]:
    return [it["status"] for it in await listed(provider, order_id)]


async def eventually_held(provider: httpx.AsyncClient, order_id: UUID) -> None:
    async with asyncio.timeout(10):
        while await at_the_provider(provider, order_id) != ["authorized"]:  # noqa: ASYNC110  # in another process
            await asyncio.sleep(0.01)


async def states(payment: Launched) -> dict[UUID, str]:
    return {it.order_id: it.state for it in await payment.rows(Payment)}


async def check_money(payment: Launched, provider: httpx.AsyncClient, order_ids: Iterable[UUID]) -> None:
    """The states and the ledger agree with what the provider did, and the provider did it once."""
    ours = await states(payment)
    async with payment.instance.database.work() as work:
        books = await books_of_orders(work, list(ours))
    for order_id in order_ids:
        theirs = await listed(provider, order_id)
        assert len(theirs) <= 1
        if theirs:
            (it,) = theirs
            assert it["status"] in AT_THE_PROVIDER[ours[order_id]]
            held = it["amount_cents"] if it["status"] == "authorized" else 0
            assert books.get(order_id, (0, 0)) == (held, it["captured_cents"] - it["refunded_cents"])
        else:
            assert ours.get(order_id) in (None, "voided")
            assert order_id not in books


def signed(webhook: dict[str, Any] | bytes, *, secret: str = SECRET, age: timedelta = timedelta()) -> dict[str, Any]:
    """A signed webhook, as arguments of a request."""
    body = webhook if isinstance(webhook, bytes) else json.dumps(webhook).encode()
    id, at = f"msg_{uuid4().hex}", datetime.now(UTC) - age
    headers = {
        "webhook-id": id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(id, at, body.decode()),
    }
    return {"content": body, "headers": headers}
