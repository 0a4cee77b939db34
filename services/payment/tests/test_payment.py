"""Payments against the provider simulator on a real port: every sequence of commands, every kind of fault."""

import asyncio
from itertools import product
from types import SimpleNamespace
from typing import cast
from uuid import UUID

import httpx
import pytest

from chassis.database import new_id
from chassis.message import Message
from chassis.service import Runtime
from chassis.testing import Launched
from contracts.payment import (
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCaptureRefused,
    PaymentDeclined,
    PaymentRefunded,
    PaymentRefundRefused,
    PaymentVoided,
)
from payment.config import PaymentSettings
from payment.models import Attempt, AttemptKind, Payment
from payment.provider import request_outcome
from simulators.server import Simulators

from .money import CENTS, PART, answers, at_the_provider, check_money, command, eventually_held, pay, send, states

SEQUENCES = ["".join(commands) for length in (1, 2, 3) for commands in product("ACVR", repeat=length)]
SEQUENCES += ["ACRA", "ACRC", "ACRV", "ACVR", "ACRR", "ACRRV"]
REFUND_ANSWERS: set[type[Message]] = {PaymentRefunded, PaymentRefundRefused}
LONGEST = max(map(len, SEQUENCES))

# The answer to each command that comes after the outcome of the one before: state, command → state, answer.
# Cards that are declined, or whose money cannot be captured or refunded, differ from a good card in one place each.
ANSWERS: dict[tuple[str, str], tuple[str, type[Message]]] = {
    ("none", "A"): ("authorized", PaymentAuthorized),
    ("none", "C"): ("none", PaymentCaptureRefused),
    ("none", "V"): ("voided", PaymentVoided),
    ("none", "R"): ("none", PaymentRefundRefused),
    ("authorized", "A"): ("authorized", PaymentAuthorized),
    ("authorized", "C"): ("captured", PaymentCaptured),
    ("authorized", "V"): ("voided", PaymentVoided),
    ("authorized", "R"): ("authorized", PaymentRefundRefused),
    ("declined", "A"): ("declined", PaymentDeclined),
    ("declined", "C"): ("declined", PaymentCaptureRefused),
    ("declined", "V"): ("declined", PaymentVoided),
    ("declined", "R"): ("declined", PaymentRefundRefused),
    ("captured", "A"): ("captured", PaymentAuthorized),
    ("captured", "C"): ("captured", PaymentCaptured),
    ("captured", "V"): ("voided", PaymentVoided),
    ("captured", "R"): ("captured", PaymentRefunded),
    ("capture_refused", "A"): ("capture_refused", PaymentAuthorized),
    ("capture_refused", "C"): ("capture_refused", PaymentCaptureRefused),
    ("capture_refused", "V"): ("voided", PaymentVoided),
    ("capture_refused", "R"): ("capture_refused", PaymentRefundRefused),
    ("voided", "A"): ("voided", PaymentDeclined),
    ("voided", "C"): ("voided", PaymentCaptureRefused),
    ("voided", "V"): ("voided", PaymentVoided),
    ("voided", "R"): ("voided", PaymentRefundRefused),
}
DECLINED = ANSWERS | {("none", "A"): ("declined", PaymentDeclined)}
NOT_CAPTURED = ANSWERS | {("authorized", "C"): ("capture_refused", PaymentCaptureRefused)}
NOT_REFUNDED = ANSWERS | {("captured", "R"): ("captured", PaymentRefundRefused)}
CARDS = {
    "tok_visa": ANSWERS,
    "tok_declined": DECLINED,
    "tok_not_captured": NOT_CAPTURED,
    "tok_not_refunded": NOT_REFUNDED,
    "tok_unavailable": ANSWERS,
    "tok_breaks": ANSWERS,
    "tok_slow": ANSWERS,
}


@pytest.mark.parametrize("token", CARDS)
async def test_commands_one_after_the_other(payment: Launched, provider: httpx.AsyncClient, token: str) -> None:
    orders = {new_id(): sequence for sequence in SEQUENCES}
    for step in range(LONGEST):
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
    """The later commands come while the outcome of the first one is unknown."""
    orders = {new_id(): sequence for sequence in SEQUENCES}
    await send(payment, *(command(letter, id, token) for id, sequence in orders.items() for letter in sequence))

    events = await answers(payment)
    for order_id, sequence in orders.items():
        kinds = {type(event) for event in events[order_id]}
        assert not ("A" in sequence and not kinds & {PaymentAuthorized, PaymentDeclined}), sequence
        assert not ("C" in sequence and not kinds & {PaymentCaptured, PaymentCaptureRefused}), sequence
        assert not ("R" in sequence and not kinds & REFUND_ANSWERS), sequence
        assert not ("V" in sequence and PaymentVoided not in kinds), sequence
        if "V" in sequence:
            assert not {"authorized", "captured"} & set(await at_the_provider(provider, order_id)), sequence
        if sequence.startswith("V"):
            assert await at_the_provider(provider, order_id) == [], sequence
    await check_money(payment, provider, orders)


async def test_a_void_waits_while_an_outcome_is_unknown(payment: Launched, provider: httpx.AsyncClient) -> None:
    order_id = new_id()
    await payment.broker.publish([payment.envelope(command("A", order_id, "tok_slow"))])
    await eventually_held(provider, order_id)
    await payment.broker.publish([payment.envelope(command("V", order_id, "tok_slow"))])
    (waiting,) = await payment.rows(Payment)
    assert (waiting.state, waiting.void_pending) == ("authorizing", True)
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
    payment: Launched, provider: httpx.AsyncClient, outside: Simulators
) -> None:
    orders = [new_id() for _ in range(60)]
    for wave in ("A", "V"):
        chosen = orders if wave == "A" else orders[::2]
        sending = asyncio.create_task(send(payment, *(command(wave, id, "tok_visa") for id in chosen)))
        for _ in range(2):
            await asyncio.sleep(0.1)
            outside.kill()
            await asyncio.sleep(0.2)
            await outside.__aenter__()  # start() would block the event loop of the service under test
        await sending
    await check_money(payment, provider, orders)
    assert [await at_the_provider(provider, id) for id in orders] == [["voided"], ["authorized"]] * 30
    for events in (await answers(payment)).values():
        assert type(events[0]) is PaymentAuthorized


async def test_an_old_attempt_is_looked_up_before_it_is_made_again(
    payment: Launched, provider: httpx.AsyncClient
) -> None:
    """The provider forgets keys after a day; what it did under a forgotten key must not be done a second time."""
    order_id = await pay(payment, "ACR")
    old = {it.kind: it for it in await payment.rows(Attempt)}
    for kind in (AttemptKind.AUTHORIZE, AttemptKind.REFUND):
        it = old[kind]
        it.id, it.tries, it.payment_token = UUID(int=it.id.int - (24 * 3_600_000 << 80)), 9, "tok_visa"
        if kind == AttemptKind.AUTHORIZE:
            it.provider_id = None
        found = await request_outcome(it, payment.instance.runtime)
        assert found is not None
        assert found.status == ("captured" if kind == AttemptKind.AUTHORIZE else "refunded")
    await check_money(payment, provider, [order_id])


@pytest.mark.parametrize(
    ("kind", "status", "text", "outcome"),
    [
        ("authorize", 201, '{"id": "pay_1", "status": "authorized", "reason": null}', "authorized"),
        ("authorize", 201, '{"id": "pay_1", "status": "on its way", "reason": null}', None),
        ("authorize", 201, "<html>", None),
        ("authorize", 404, "{}", None),
        ("authorize", 409, "{}", None),
        ("authorize", 422, "{}", "declined"),
        ("authorize", 429, "{}", None),
        ("authorize", 503, "", None),
        ("refund", 422, "{}", None),
        ("refund", 201, '{"id": "ref_1", "status": "refused", "reason": null}', "refused"),
        ("void", 200, '{"id": "pay_1", "status": "voided", "reason": null}', "voided"),
        ("void", 200, '{"id": "pay_1", "status": "captured", "reason": null}', None),
    ],
)
async def test_only_a_clear_answer_is_an_outcome(kind: str, status: int, text: str, outcome: str | None) -> None:
    attempt = Attempt.new(
        id=new_id(), order_id=new_id(), kind=AttemptKind(kind), amount_cents=1, currency="EUR", provider_id="pay_1"
    )
    transport = httpx.MockTransport(lambda _: httpx.Response(status, text=text))
    limits = {"breaker_failures": 1, "breaker_seconds": 1}
    settings = SimpleNamespace(provider_url="http://provider", provider_timeout_seconds=1, **limits)
    async with httpx.AsyncClient(transport=transport) as http:
        runtime = SimpleNamespace(http=http, settings=settings, resource=lambda kind: kind(settings))
        found = await request_outcome(attempt, cast(Runtime[PaymentSettings], runtime))
    assert (found and found.status) == outcome


async def test_the_payment_token_is_deleted_and_never_sent_on(payment: Launched) -> None:
    await send(payment, command("A", new_id(), "tok_visa"))
    (attempt,) = await payment.rows(Attempt)
    assert attempt.payment_token is None
    assert not any("tok_visa" in event.model_dump_json() for event in await payment.sent())


async def test_answers_stay_in_the_trace_of_their_command(payment: Launched) -> None:
    requested = payment.envelope(command("A", new_id(), "tok_unavailable"))
    await payment.send(requested)
    await send(payment)
    async with payment.instance.database.work() as work:
        (row,) = await work.read("SELECT correlation_id, causation_id FROM outbox_history")
    assert (row["correlation_id"], row["causation_id"]) == (requested.correlation_id, str(requested.id))


async def test_staff_see_a_payment_with_its_attempts(payment: Launched) -> None:
    order_id = await pay(payment, "ACR")
    async with payment.as_staff() as client:
        seen = (await client.get(f"/payments/{order_id}")).json()
        unknown = await client.get(f"/payments/{new_id()}")
    assert (seen["state"], seen["amount_cents"], seen["currency"]) == ("captured", CENTS, "EUR")
    assert [(it["kind"], it["outcome"]) for it in seen["attempts"]] == [
        ("authorize", "authorized"),
        ("capture", "captured"),
        ("refund", "refunded"),
    ]
    assert [(it["amount_cents"], it["state"]) for it in seen["refunds"]] == [(PART, "refunded")]
    assert (unknown.status_code, unknown.json()["code"]) == (404, "payment_not_found")
    async with payment.as_customer() as client:
        assert (await client.get(f"/payments/{order_id}")).status_code == 403
        assert (await client.get("/totals")).status_code == 403
    async with payment.client() as client:
        assert (await client.get("/totals")).status_code == 401


async def test_totals_are_the_balances_of_the_ledger(payment: Launched) -> None:
    orders = {new_id(): letters for letters in ("A", "AC", "ACV", "AV", "AV", "ACR", "ACRV")}
    for step in range(4):
        await send(payment, *(command(s[step], id) for id, s in orders.items() if len(s) > step))
    async with payment.as_staff() as client:
        totals = (await client.get("/totals")).json()
    assert totals == {
        "authorized_cents": CENTS,
        "captured_cents": CENTS + (CENTS - PART),
        "voided_cents": 3 * CENTS + (CENTS - PART),
        "refunded_cents": 2 * PART,
    }
