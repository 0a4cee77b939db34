"""What staff may ask: one payment with its attempts, and the sums of all."""

from uuid import UUID

from pydantic import BaseModel

from chassis.web import Router, Staff, Work
from payment.models import AttemptKind, PaymentState
from payment.queries import attempts_of_order, cents_by_state, payment_of_order

router = Router()
HELD = (PaymentState.AUTHORIZED, PaymentState.CAPTURING, PaymentState.CAPTURE_REFUSED, PaymentState.VOIDING)


class AttemptView(BaseModel):
    """A request to the provider. Its `outcome` is null while it is unknown."""

    id: UUID
    kind: AttemptKind
    outcome: str | None
    tries: int


class PaymentView(BaseModel):
    order_id: UUID
    amount_cents: int
    currency: str
    state: PaymentState
    reason: str | None
    provider_id: str | None
    attempts: list[AttemptView]


class Totals(BaseModel):
    """What is held, what was taken, and what was given back."""

    authorized_cents: int
    captured_cents: int
    voided_cents: int


@router.get("/payments/{order_id}")
async def payment(order_id: UUID, work: Work, _: Staff) -> PaymentView:
    found = await payment_of_order(work, order_id)
    attempts = [AttemptView.model_validate(it, from_attributes=True) for it in await attempts_of_order(work, order_id)]
    return PaymentView(**found.model_dump(warnings=False), attempts=attempts)


@router.get("/totals")
async def totals(work: Work, _: Staff) -> Totals:
    cents = await cents_by_state(work)
    return Totals(
        authorized_cents=sum(cents.get(state, 0) for state in HELD),
        captured_cents=cents.get(PaymentState.CAPTURED, 0),
        voided_cents=cents.get(PaymentState.VOIDED, 0),
    )
