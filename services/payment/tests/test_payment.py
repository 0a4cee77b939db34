"""Payments against the real provider program on a real port: every order of commands, every kind of trouble."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import product
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import httpx
import pytest

from chassis.messaging.message import Message
from chassis.service import Runtime
from chassis.tables import new_id
from chassis.testing import Launch, Launched
from contracts.payment import (
    AuthorizePayment,
    CapturePayment,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCaptureRefused,
    PaymentDeclined,
    PaymentVoided,
    VoidPayment,
)
from outside.server import Outside
from payment.main import service
from payment.models import Attempt, AttemptKind, Payment, PaymentState
from payment.provider import ask

CENTS = 1_000
SEQUENCES = ["".join(commands) for length in (1, 2, 3) for commands in product("ACV", repeat=length)]

# What must be answered when each command comes after the outcome of the one before: state, command → state, answer.
# A good card, one that is declined, and one whose money cannot be taken differ in three places.
ANSWERS: dict[tuple[str, str], tuple[str, type[Message]]] = {
    ("none", "A"): ("authorized", PaymentAuthorized),
    ("none", "C"): ("none", PaymentCaptureRefused),
    ("none", "V"): ("voided", PaymentVoided),
    ("authorized", "A"): ("authorized", PaymentAuthorized),
    ("authorized", "C"): ("captured", PaymentCaptured),
    ("authorized", "V"): ("voided", PaymentVoided),
    ("declined", "A"): ("declined", PaymentDeclined),
    ("declined", "C"): ("declined", PaymentCaptureRefused),
    ("declined", "V"): ("declined", PaymentVoided),
    ("captured", "A"): ("captured", PaymentAuthorized),
    ("captured", "C"): ("captured", PaymentCaptured),
    ("captured", "V"): ("voided", PaymentVoided),
    ("capture_refused", "A"): ("capture_refused", PaymentAuthorized),
    ("capture_refused", "C"): ("capture_refused", PaymentCaptureRefused),
    ("capture_refused", "V"): ("voided", PaymentVoided),
    ("voided", "A"): ("voided", PaymentDeclined),
    ("voided", "C"): ("voided", PaymentCaptureRefused),
    ("voided", "V"): ("voided", PaymentVoided),
}
DECLINED = ANSWERS | {("none", "A"): ("declined", PaymentDeclined)}
NOT_CAPTURED = ANSWERS | {("authorized", "C"): ("capture_refused", PaymentCaptureRefused)}
CARDS = {
    "tok_visa": ANSWERS,
    "tok_declined": DECLINED,
    "tok_not_captured": NOT_CAPTURED,
    "tok_unavailable": ANSWERS,
    "tok_breaks": ANSWERS,
    "tok_slow": ANSWERS,
}
AT_THE_PROVIDER = {
    "authorized": {"authorized"},
    "capture_refused": {"authorized"},
    "captured": {"captured"},
    "declined": {"declined"},
    "voided": {"voided", "refunded"},
}


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    with Outside.temporary() as server:
        yield server


@pytest.fixture
async def provider(outside: Outside) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=outside.url) as client:
        yield client


@pytest.fixture
async def payment(launch: Launch, outside: Outside) -> Launched:
    return await launch(service, PROVIDER_URL=outside.url, PROVIDER_TIMEOUT_SECONDS=0.5)


def command(letter: str, order_id: UUID, token: str) -> Message:
    if letter == "A":
        return AuthorizePayment(order_id=order_id, amount_cents=CENTS, currency="EUR", payment_token=token)
    return CapturePayment(order_id=order_id) if letter == "C" else VoidPayment(order_id=order_id)


async def send(payment: Launched, *messages: Message) -> None:
    """Publish, and return when the outcome of every attempt is known and announced."""
    await payment.send(*messages)
    deadline = time.monotonic() + 60
    while any(attempt.outcome is None for attempt in await payment.rows(Attempt)):
        assert time.monotonic() < deadline, "an outcome stays unknown"
        await asyncio.sleep(0.05)
    await payment.settled()


async def answers(payment: Launched) -> dict[UUID, list[Message]]:
    """The events of each order."""
    found: dict[UUID, list[Message]] = {}
    for event in await payment.sent():
        found.setdefault(cast(Any, event).order_id, []).append(event)
    return found


async def at_the_provider(provider: httpx.AsyncClient, order_id: UUID) -> list[str]:
    found = (await provider.get("/payments", params={"reference": str(order_id)})).json()
    return [it["status"] for it in found]


async def eventually_held(provider: httpx.AsyncClient, order_id: UUID) -> None:
    async with asyncio.timeout(10):
        while await at_the_provider(provider, order_id) != ["authorized"]:  # noqa: ASYNC110  # in another process
            await asyncio.sleep(0.01)


async def states(payment: Launched) -> dict[UUID, str]:
    return {it.order_id: it.state for it in await payment.rows(Payment)}


async def check_money(payment: Launched, provider: httpx.AsyncClient, order_ids: Iterable[UUID]) -> None:
    """What we believe is what the provider did, and it did it once."""
    ours = await states(payment)
    for order_id in order_ids:
        theirs = await at_the_provider(provider, order_id)
        assert len(theirs) <= 1
        if theirs:
            assert theirs[0] in AT_THE_PROVIDER[ours[order_id]]
        else:
            assert ours.get(order_id) in (None, "voided")


@pytest.mark.parametrize("token", CARDS)
async def test_commands_one_after_the_other(payment: Launched, provider: httpx.AsyncClient, token: str) -> None:
    orders = {new_id(): sequence for sequence in SEQUENCES}
    for step in range(3):
        await send(payment, *(command(s[step], id, token) for id, s in orders.items() if len(s) > step))

    events, ours = await answers(payment), await states(payment)
    for order_id, sequence in orders.items():
        state, expected = "none", []
        for letter in sequence:
            state, answer = CARDS[token][state, letter]
            expected.append(answer)
        assert [type(event) for event in events[order_id]] == expected, sequence
        assert ours.get(order_id, "none") == state, sequence
    await check_money(payment, provider, orders)


@pytest.mark.parametrize("token", CARDS)
async def test_commands_all_at_once(payment: Launched, provider: httpx.AsyncClient, token: str) -> None:
    """The later commands come while the outcome of the first is unknown."""
    orders = {new_id(): sequence for sequence in SEQUENCES}
    await send(payment, *(command(letter, id, token) for id, sequence in orders.items() for letter in sequence))

    events = await answers(payment)
    for order_id, sequence in orders.items():
        kinds = {type(event) for event in events[order_id]}
        assert not ("A" in sequence and not kinds & {PaymentAuthorized, PaymentDeclined}), sequence
        assert not ("C" in sequence and not kinds & {PaymentCaptured, PaymentCaptureRefused}), sequence
        assert not ("V" in sequence and PaymentVoided not in kinds), sequence
        if "V" in sequence:
            assert not {"authorized", "captured"} & set(await at_the_provider(provider, order_id)), sequence
        if sequence.startswith("V"):
            assert await at_the_provider(provider, order_id) == [], sequence
    await check_money(payment, provider, orders)


async def test_an_undo_waits_while_an_outcome_is_unknown(payment: Launched, provider: httpx.AsyncClient) -> None:
    order_id = new_id()
    await payment.broker.publish([payment.envelope(command("A", order_id, "tok_slow"))])
    await eventually_held(provider, order_id)
    await payment.broker.publish([payment.envelope(command("V", order_id, "tok_slow"))])
    (waiting,) = await payment.rows(Payment)
    assert (waiting.state, waiting.void_waits) == ("authorizing", True)
    assert [attempt.kind for attempt in await payment.rows(Attempt)] == ["authorize"]

    await send(payment)
    assert [type(event) for event in await payment.sent()] == [PaymentAuthorized, PaymentVoided]
    assert await at_the_provider(provider, order_id) == ["voided"]


async def test_an_operator_captures_again(payment: Launched, provider: httpx.AsyncClient) -> None:
    """Each CapturePayment after a refusal is a new attempt, not the old answer."""
    order_id = new_id()
    await send(payment, command("A", order_id, "tok_not_captured"))
    for _ in range(2):
        await send(payment, command("C", order_id, "tok_not_captured"))
    refused = await payment.sent(PaymentCaptureRefused)
    assert [cast(PaymentCaptureRefused, event).reason for event in refused] == ["authorization_expired"] * 2
    assert [it.kind for it in await payment.rows(Attempt)] == ["authorize", "capture", "capture"]


async def test_kill_9_of_the_provider_moves_no_money_twice(
    payment: Launched, provider: httpx.AsyncClient, outside: Outside
) -> None:
    orders = [new_id() for _ in range(60)]
    for wave in ("A", "V"):
        chosen = orders if wave == "A" else orders[::2]
        sending = asyncio.create_task(send(payment, *(command(wave, id, "tok_visa") for id in chosen)))
        for _ in range(2):
            await asyncio.sleep(0.1)
            outside.kill()
            await asyncio.sleep(0.2)
            await outside.__aenter__()  # start() would hold up the service under test
        await sending
    await check_money(payment, provider, orders)
    assert [await at_the_provider(provider, id) for id in orders] == [["voided"], ["authorized"]] * 30
    for events in (await answers(payment)).values():
        assert type(events[0]) is PaymentAuthorized


async def test_an_outcome_lost_in_our_own_crash_is_asked_for_again(
    payment: Launched, provider: httpx.AsyncClient
) -> None:
    """We died after the provider had answered and before we wrote it down: the attempt is still unknown."""
    order_id, key = new_id(), new_id()
    body = {"reference": str(order_id), "amount_cents": CENTS, "currency": "EUR", "token": "tok_visa"}
    await provider.post("/payments", json=body, headers={"Idempotency-Key": str(key)})
    async with payment.instance.database.work() as work:
        await work.begin()
        held = {"order_id": order_id, "amount_cents": CENTS, "currency": "EUR"}
        work.add(Payment.new(**held, state=PaymentState.AUTHORIZING))
        work.add(Attempt.new(**held, id=key, kind=AttemptKind.AUTHORIZE, payment_token="tok_visa", due_at=work.now))
    await send(payment)
    assert [type(event) for event in await payment.sent()] == [PaymentAuthorized]
    assert await at_the_provider(provider, order_id) == ["authorized"]


@pytest.mark.parametrize(
    ("status", "text", "outcome"),
    [
        (201, '{"id": "pay_1", "status": "authorized", "reason": null}', "authorized"),
        (201, '{"id": "pay_1", "status": "on its way", "reason": null}', None),
        (201, "<html>", None),
        (404, "{}", None),
        (409, "{}", None),
        (422, "{}", "declined"),
        (429, "{}", None),
        (503, "", None),
    ],
)
async def test_only_a_clear_answer_is_an_outcome(status: int, text: str, outcome: str | None) -> None:
    attempt = Attempt.new(id=new_id(), order_id=new_id(), kind=AttemptKind.AUTHORIZE, amount_cents=1, currency="EUR")
    transport = httpx.MockTransport(lambda _: httpx.Response(status, text=text))
    settings = SimpleNamespace(provider_url="http://provider", provider_timeout_seconds=1)
    async with httpx.AsyncClient(transport=transport) as http:
        found = await ask(attempt, cast(Runtime, SimpleNamespace(http=http, settings=settings)))
    assert (found and found.status) == outcome


async def test_the_card_is_forgotten_and_never_sent_on(payment: Launched) -> None:
    await send(payment, command("A", new_id(), "tok_visa"))
    (attempt,) = await payment.rows(Attempt)
    assert attempt.payment_token is None
    assert not any("tok_visa" in event.model_dump_json() for event in await payment.sent())


async def test_answers_stay_in_the_trace_of_their_command(payment: Launched) -> None:
    asked = payment.envelope(command("A", new_id(), "tok_unavailable"))
    await payment.send(asked)
    await send(payment)
    async with payment.instance.database.work() as work:
        (row,) = await work.read("SELECT correlation_id, causation_id FROM outbox_history")
    assert (row["correlation_id"], row["causation_id"]) == (asked.correlation_id, str(asked.id))


async def test_staff_see_a_payment_with_its_attempts(payment: Launched) -> None:
    order_id = new_id()
    await send(payment, command("A", order_id, "tok_visa"))
    await send(payment, command("C", order_id, "tok_visa"))
    async with payment.as_staff() as client:
        seen = (await client.get(f"/payments/{order_id}")).json()
        unknown = await client.get(f"/payments/{new_id()}")
    assert (seen["state"], seen["amount_cents"], seen["currency"]) == ("captured", CENTS, "EUR")
    assert [(it["kind"], it["outcome"]) for it in seen["attempts"]] == [
        ("authorize", "authorized"),
        ("capture", "captured"),
    ]
    assert (unknown.status_code, unknown.json()["code"]) == (404, "payment_not_found")
    async with payment.as_customer() as client:
        assert (await client.get(f"/payments/{order_id}")).status_code == 403
        assert (await client.get("/totals")).status_code == 403
    async with payment.client() as client:
        assert (await client.get("/totals")).status_code == 401


async def test_totals_are_sums_by_what_became_of_the_money(payment: Launched) -> None:
    orders = {new_id(): letters for letters in ("A", "AC", "ACV", "AV", "AV")}
    for step in range(3):
        await send(payment, *(command(s[step], id, "tok_visa") for id, s in orders.items() if len(s) > step))
    async with payment.as_staff() as client:
        totals = (await client.get("/totals")).json()
    assert totals == {"authorized_cents": CENTS, "captured_cents": CENTS, "voided_cents": 3 * CENTS}
