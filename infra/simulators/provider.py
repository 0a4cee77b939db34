"""The payment provider: authorizes, captures and refunds money on cards, of which some behave badly.

The token of a card decides what happens (`CARDS`), also when its payment is captured, voided or refunded later.
"""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from simulators.faults import Card
from simulators.simulation import Answer, CurrentSimulation, FaultInjectingRoute, IdempotencyKey, Simulation, reply
from simulators.webhooks import schedule_webhook

router = APIRouter(prefix="/payments", route_class=FaultInjectingRoute)
totals_router = APIRouter()  # without faults: for audits
CARDS = {
    "tok_visa": Card(),
    "tok_declined": Card(declined="card_declined"),
    "tok_not_captured": Card(not_captured="authorization_expired"),
    "tok_not_captured_once": Card(not_captured="authorization_expired", only_once=True),
    "tok_not_refunded": Card(not_refunded="account_closed"),
    "tok_unavailable": Card(fault="unavailable"),
    "tok_breaks": Card(fault="breaks"),
    "tok_late": Card(fault="late"),
    "tok_slow": Card(fault="slow"),
}
_UNKNOWN = Card(declined="unknown_card")


class PaymentRequest(BaseModel, extra="forbid"):
    reference: Annotated[str, Field(min_length=1)]
    amount_cents: Annotated[int, Field(gt=0)]
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    token: str


class RefundRequest(BaseModel, extra="forbid"):
    reference: str = ""
    amount_cents: Annotated[int, Field(gt=0)]


@router.post("")
async def authorize_payment(body: PaymentRequest, simulation: CurrentSimulation, key: IdempotencyKey) -> Response:
    """Hold an amount: 201 with status authorized, or with status declined and a reason."""
    card = _card(simulation, body.token)

    def act() -> Answer:
        payment = {"id": f"pay_{uuid4().hex}", **body.model_dump(), "reason": card.declined}
        payment |= {"status": "declined" if card.declined else "authorized", "captured_cents": 0, "refunded_cents": 0}
        return 201, _save(simulation, payment, event=payment["status"])

    return await simulation.answer_once(key, f"authorize {body.model_dump_json()}", act, card.fault)


@router.post("/{id}/capture")
async def capture_payment(id: str, simulation: CurrentSimulation, key: IdempotencyKey) -> Response:
    """Take the held amount. The answer is the payment, captured or not, with the reason."""

    def act(payment: dict[str, Any], card: Card) -> Answer:
        if payment["status"] != "authorized":
            return 200, _payment_view(payment)
        refused_before = payment["reason"] is not None
        if card.not_captured and not (card.only_once and refused_before):
            return 200, _save(simulation, payment | {"reason": card.not_captured}, event=None)
        captured = {"status": "captured", "reason": None, "captured_cents": payment["amount_cents"]}
        return 200, _save(simulation, payment | captured, event="captured")

    return await _answer_about(id, simulation, key, "capture", act)


@router.post("/{id}/void")
async def void_payment(id: str, simulation: CurrentSimulation, key: IdempotencyKey) -> Response:
    """Release the held amount (status voided), or give back all that was captured (status refunded)."""

    def act(payment: dict[str, Any], _: Card) -> Answer:
        if payment["status"] == "authorized":
            return 200, _save(simulation, payment | {"status": "voided"}, event="voided")
        if payment["status"] == "captured":
            refunded = {"status": "refunded", "refunded_cents": payment["captured_cents"]}
            return 200, _save(simulation, payment | refunded, event="refunded")
        return 200, _payment_view(payment)

    return await _answer_about(id, simulation, key, "void", act)


@router.post("/{id}/refunds")
async def create_refund(id: str, body: RefundRequest, simulation: CurrentSimulation, key: IdempotencyKey) -> Response:
    """Give back a part of the captured amount: 201 with status refunded, or with status refused and a reason."""

    def act(payment: dict[str, Any], card: Card) -> Answer:
        refund = {"id": f"ref_{uuid4().hex}", "payment_id": id, **body.model_dump()}
        left = payment["captured_cents"] - payment["refunded_cents"]
        if reason := card.not_refunded or ("more_than_captured" if body.amount_cents > left else None):
            return 201, {**refund, "status": "refused", "reason": reason}
        simulation.execute("INSERT INTO refunds VALUES (:id, :payment_id, :reference, :amount_cents)", **refund)
        status = "refunded" if body.amount_cents == left else payment["status"]
        refunded_cents = payment["refunded_cents"] + body.amount_cents
        _save(simulation, payment | {"status": status, "refunded_cents": refunded_cents}, event="refunded")
        return 201, {**refund, "status": "refunded", "reason": None}

    return await _answer_about(id, simulation, key, f"refund {body.model_dump_json()}", act)


@router.get("")
async def list_payments(
    simulation: CurrentSimulation,
    reference: str | None = None,
    since: int = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[dict[str, Any]]:
    """The payments of a reference; or those whose last change has a number above `since`, in the order of that number.

    For the next page, `since` is the `changed` of the last payment on this page.
    """
    if reference is not None:
        found = simulation.execute("SELECT * FROM payments WHERE reference = ?", reference)
    else:
        sql = "SELECT * FROM payments WHERE changed > ? ORDER BY changed LIMIT ?"
        found = simulation.execute(sql, since, limit)
    return [_payment_view(payment) for payment in found]


@router.get("/{id}/refunds")
async def list_refunds(id: str, reference: str, simulation: CurrentSimulation) -> list[dict[str, Any]]:
    found = simulation.execute("SELECT * FROM refunds WHERE payment_id = ? AND reference = ?", id, reference)
    return [{**refund, "status": "refunded", "reason": None} for refund in found]


@totals_router.get("/totals")
async def get_totals(simulation: CurrentSimulation) -> dict[str, int]:
    """The sums over all payments, for audits."""
    (sums,) = simulation.execute(
        "SELECT total(amount_cents) FILTER (WHERE status = 'authorized') AS authorized_cents,"
        " total(captured_cents) - total(refunded_cents) AS captured_cents,"
        " total(amount_cents) FILTER (WHERE status = 'voided') AS voided_cents,"
        " total(refunded_cents) AS refunded_cents,"
        " total(amount_cents) FILTER (WHERE status = 'declined') AS declined_cents FROM payments"
    )
    return {name: int(cents) for name, cents in sums.items()}


async def _answer_about(
    id: str, simulation: Simulation, key: str, what: str, act: Callable[[dict[str, Any], Card], Answer]
) -> Response:
    """Answer a request about a payment, which must exist, with the fault of its card."""
    found = simulation.execute("SELECT * FROM payments WHERE id = ?", id)
    if not found:
        return reply((404, {"code": "payment_not_found"}))
    card = _card(simulation, found[0]["token"])
    return await simulation.answer_once(key, f"{what} {id}", lambda: act(found[0], card), card.fault)


def _card(simulation: Simulation, token: str) -> Card:
    settings = simulation.settings.cards
    return settings.get(token) or settings.get("*") or CARDS.get(token, _UNKNOWN)


def _save(simulation: Simulation, payment: dict[str, Any], event: str | None) -> dict[str, Any]:
    """Save a payment, number the change, and schedule a webhook about the event, if there is one."""
    simulation.execute(
        "INSERT OR REPLACE INTO payments (id, reference, amount_cents, currency, token, status, reason,"
        " captured_cents, refunded_cents, changed) VALUES (:id, :reference, :amount_cents, :currency, :token, :status,"
        " :reason, :captured_cents, :refunded_cents, (SELECT coalesce(max(changed), 0) + 1 FROM payments))",
        **payment,
    )
    (saved,) = simulation.execute("SELECT * FROM payments WHERE id = ?", payment["id"])
    if event is not None:
        delay = simulation.settings.provider_webhook_seconds
        type = f"payment.{event}"
        schedule_webhook(simulation, "provider", type, _payment_view(saved), delay_seconds=delay)
    return _payment_view(saved)


def _payment_view(payment: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in payment.items() if name != "token"}
