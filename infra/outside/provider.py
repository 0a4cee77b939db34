"""The payment provider: holds, takes and gives back money on cards, of which some behave badly.

What a card does is said by its token, also when its payment is captured or voided later (`CARDS`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from outside.world import Answer, Key, TheWorld, Trouble, World, reply

router = APIRouter()


@dataclass(frozen=True)
class Card:
    """How a card behaves: reasons why it is declined or not captured, and what goes wrong on the way."""

    declined: str | None = None
    not_captured: str | None = None
    trouble: Trouble = None


CARDS = {
    "tok_visa": Card(),
    "tok_declined": Card(declined="card_declined"),
    "tok_not_captured": Card(not_captured="authorization_expired"),
    "tok_unavailable": Card(trouble="unavailable"),
    "tok_breaks": Card(trouble="breaks"),
    "tok_slow": Card(trouble="slow"),
}
_UNKNOWN = Card(declined="unknown_card")


class Authorize(BaseModel, extra="forbid"):
    reference: Annotated[str, Field(min_length=1)]
    amount_cents: Annotated[int, Field(gt=0)]
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    token: str


@router.post("/payments")
async def authorize(body: Authorize, world: World, key: Key) -> JSONResponse:
    """Hold an amount: 201 with status authorized, or declined and a reason."""

    card = CARDS.get(body.token, _UNKNOWN)

    def act() -> Answer:
        status = "declined" if card.declined else "authorized"
        payment = {"id": f"pay_{uuid4().hex}", **body.model_dump(), "status": status, "reason": card.declined}
        world.rows(
            "INSERT INTO payments VALUES (:id, :reference, :amount_cents, :currency, :token, :status, :reason)",
            **payment,
        )
        return 201, _shown(payment)

    return await world.answer(key, f"authorize {body.model_dump_json()}", act, card.trouble)


@router.post("/payments/{id}/capture")
async def capture(id: str, world: World, key: Key) -> JSONResponse:
    """Take what is held. The answer is the payment as it is then, captured or not, with the reason."""

    def move(payment: dict[str, Any], card: Card) -> None:
        if payment["status"] == "authorized" and card.not_captured:
            payment["reason"] = card.not_captured
        elif payment["status"] == "authorized":
            payment["status"] = "captured"

    return await _moved(world, key, "capture", id, move)


@router.post("/payments/{id}/void")
async def void(id: str, world: World, key: Key) -> JSONResponse:
    """Give back whatever it is: what is held becomes voided, what was taken refunded."""

    def move(payment: dict[str, Any], card: Card) -> None:
        payment["status"] = {"authorized": "voided", "captured": "refunded"}.get(payment["status"], payment["status"])

    return await _moved(world, key, "void", id, move)


@router.get("/payments")
async def payments(reference: str, world: World) -> list[dict[str, Any]]:
    return [_shown(payment) for payment in world.rows("SELECT * FROM payments WHERE reference = ?", reference)]


@router.get("/totals")
async def totals(world: World) -> dict[str, int]:
    """The sum of all payments by status, for whoever checks that no money was lost."""
    cents = dict.fromkeys(["authorized", "captured", "voided", "refunded", "declined"], 0)
    for sum_ in world.rows("SELECT status, sum(amount_cents) AS cents FROM payments GROUP BY status"):
        cents[sum_["status"]] = sum_["cents"]
    return {f"{status}_cents": sum_ for status, sum_ in cents.items()}


async def _moved(
    world: TheWorld, key: str, verb: str, id: str, move: Callable[[dict[str, Any], Card], None]
) -> JSONResponse:
    found = world.rows("SELECT * FROM payments WHERE id = ?", id)
    if not found:
        return reply((404, {"code": "payment_not_found"}))
    payment, card = found[0], CARDS.get(found[0]["token"], _UNKNOWN)

    def act() -> Answer:
        move(payment, card)
        world.rows("UPDATE payments SET status = :status, reason = :reason WHERE id = :id", **payment)
        return 200, _shown(payment)

    return await world.answer(key, f"{verb} {id}", act, card.trouble)


def _shown(payment: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in payment.items() if name != "token"}
