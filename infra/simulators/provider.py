"""The payment provider: holds, takes and gives back money on cards, of which some behave badly.

What a card does is said by its token, also when its payment is captured, voided or refunded later.
"""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from simulators.faults import Card
from simulators.simulation import Answer, CurrentSimulation, FaultInjectingRoute, IdempotencyKey, Simulation, reply
from simulators.webhooks import tell

router = APIRouter(prefix="/payments", route_class=FaultInjectingRoute)
books = APIRouter()
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
async def authorize(body: PaymentRequest, world: CurrentSimulation, key: IdempotencyKey) -> Response:
    """Hold an amount: 201 with status authorized, or declined and a reason."""
    card = _card(world, body.token)

    def act() -> Answer:
        payment = {"id": f"pay_{uuid4().hex}", **body.model_dump(), "reason": card.declined}
        payment |= {"status": "declined" if card.declined else "authorized", "captured_cents": 0, "refunded_cents": 0}
        return 201, _saved(world, payment)

    return await world.answer(key, f"authorize {body.model_dump_json()}", act, card.fault)


@router.post("/{id}/capture")
async def capture(id: str, world: CurrentSimulation, key: IdempotencyKey) -> Response:
    """Take what is held. The answer is the payment as it is then, captured or not, with the reason."""

    def act(payment: dict[str, Any], card: Card) -> Answer:
        if payment["status"] != "authorized":
            return 200, _shown(payment)
        refused_before = payment["reason"] is not None
        if card.not_captured and not (card.only_once and refused_before):
            return 200, _saved(world, payment | {"reason": card.not_captured}, told=False)
        taken = {"status": "captured", "reason": None, "captured_cents": payment["amount_cents"]}
        return 200, _saved(world, payment | taken)

    return await _act_on(id, world, key, "capture", act)


@router.post("/{id}/void")
async def void(id: str, world: CurrentSimulation, key: IdempotencyKey) -> Response:
    """Give back whatever is left: what is held becomes voided, what was taken refunded."""

    def act(payment: dict[str, Any], _: Card) -> Answer:
        if payment["status"] == "authorized":
            return 200, _saved(world, payment | {"status": "voided"})
        if payment["status"] == "captured":
            return 200, _saved(world, payment | {"status": "refunded", "refunded_cents": payment["captured_cents"]})
        return 200, _shown(payment)

    return await _act_on(id, world, key, "void", act)


@router.post("/{id}/refunds")
async def refund(id: str, body: RefundRequest, world: CurrentSimulation, key: IdempotencyKey) -> Response:
    """Give back a part of what was taken: 201 with status refunded, or refused and a reason."""

    def act(payment: dict[str, Any], card: Card) -> Answer:
        asked = {"id": f"ref_{uuid4().hex}", "payment_id": id, **body.model_dump()}
        left = payment["captured_cents"] - payment["refunded_cents"]
        if reason := card.not_refunded or ("more_than_captured" if body.amount_cents > left else None):
            return 201, {**asked, "status": "refused", "reason": reason}
        world.rows("INSERT INTO refunds VALUES (:id, :payment_id, :reference, :amount_cents)", **asked)
        status = "refunded" if body.amount_cents == left else payment["status"]
        given_back = payment["refunded_cents"] + body.amount_cents
        _saved(world, payment | {"status": status, "refunded_cents": given_back}, told="refunded")
        return 201, {**asked, "status": "refunded", "reason": None}

    return await _act_on(id, world, key, f"refund {body.model_dump_json()}", act)


@router.get("")
async def payments(
    world: CurrentSimulation,
    reference: str | None = None,
    since: int = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[dict[str, Any]]:
    """Those of a reference, or those with a change after the one numbered `since`, in the order of their last change.

    The next page begins at the `changed` of the last one on this page.
    """
    sql = "SELECT * FROM payments WHERE changed > ? ORDER BY changed LIMIT ?"
    if reference is not None:
        return [_shown(it) for it in world.rows("SELECT * FROM payments WHERE reference = ?", reference)]
    return [_shown(it) for it in world.rows(sql, since, limit)]


@router.get("/{id}/refunds")
async def refunds(id: str, reference: str, world: CurrentSimulation) -> list[dict[str, Any]]:
    found = world.rows("SELECT * FROM refunds WHERE payment_id = ? AND reference = ?", id, reference)
    return [{**it, "status": "refunded", "reason": None} for it in found]


@books.get("/totals")
async def totals(world: CurrentSimulation) -> dict[str, int]:
    """Where the money is, for whoever checks that none was lost."""
    (sums,) = world.rows(
        "SELECT total(amount_cents) FILTER (WHERE status = 'authorized') AS authorized_cents,"
        " total(captured_cents) - total(refunded_cents) AS captured_cents,"
        " total(amount_cents) FILTER (WHERE status = 'voided') AS voided_cents,"
        " total(refunded_cents) AS refunded_cents,"
        " total(amount_cents) FILTER (WHERE status = 'declined') AS declined_cents FROM payments"
    )
    return {name: int(cents) for name, cents in sums.items()}


async def _act_on(
    id: str, world: Simulation, key: str, what: str, act: Callable[[dict[str, Any], Card], Answer]
) -> Response:
    """What was asked of a payment, of which there must be one."""
    found = world.rows("SELECT * FROM payments WHERE id = ?", id)
    if not found:
        return reply((404, {"code": "payment_not_found"}))
    card = _card(world, found[0]["token"])
    return await world.answer(key, f"{what} {id}", lambda: act(found[0], card), card.fault)


def _card(world: Simulation, token: str) -> Card:
    told = world.settings.cards
    return told.get(token) or told.get("*") or CARDS.get(token, _UNKNOWN)


def _saved(world: Simulation, payment: dict[str, Any], told: str | bool = True) -> dict[str, Any]:
    """Keep the payment as it is now, number the change, and tell who wants to know."""
    world.rows(
        "INSERT OR REPLACE INTO payments (id, reference, amount_cents, currency, token, status, reason,"
        " captured_cents, refunded_cents, changed) VALUES (:id, :reference, :amount_cents, :currency, :token, :status,"
        " :reason, :captured_cents, :refunded_cents, (SELECT coalesce(max(changed), 0) + 1 FROM payments))",
        **payment,
    )
    (saved,) = world.rows("SELECT * FROM payments WHERE id = ?", payment["id"])
    if told:
        type = f"payment.{payment['status'] if told is True else told}"
        tell(world, "provider", type, _shown(saved), after=world.settings.provider_webhook_seconds)
    return _shown(saved)


def _shown(payment: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in payment.items() if name != "token"}
