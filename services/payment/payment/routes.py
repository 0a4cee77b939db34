"""What staff may ask: one payment with its attempts and refunds, the balances, and where the provider differs."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from chassis.web import Cursor, Limit, Page, Router, Staff, Work, decode_cursor, page
from payment.models import Account, AttemptKind, DiscrepancyKind, PaymentState, RefundState
from payment.queries import attempts_of_order, balances, discrepancies_after, payment_of_order, refunds_of_order

router = Router()


class View(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class AttemptView(View):
    """A request to the provider. Its `outcome` is null while it is unknown."""

    id: UUID
    kind: AttemptKind
    amount_cents: int
    outcome: str | None
    tries: int


class RefundView(View):
    """A part that was to be given back."""

    id: UUID
    amount_cents: int
    state: RefundState
    reason: str | None


class PaymentView(View):
    order_id: UUID
    amount_cents: int
    currency: str
    state: PaymentState
    reason: str | None
    provider_id: str | None
    attempts: list[AttemptView]
    refunds: list[RefundView]


class Totals(BaseModel):
    """Where the money is by the books: held, ours, and given back before or after it was ours."""

    authorized_cents: int
    captured_cents: int
    voided_cents: int
    refunded_cents: int


class DiscrepancyView(View):
    """A payment about which the provider and our books do not agree since `found_at`."""

    provider_id: str
    reference: str
    kind: DiscrepancyKind
    found_at: datetime
    our_held_cents: int
    our_captured_cents: int
    their_held_cents: int
    their_captured_cents: int


@router.get("/payments/{order_id}")
async def payment(order_id: UUID, work: Work, _: Staff) -> PaymentView:
    found = await payment_of_order(work, order_id)
    return PaymentView(
        **found.model_dump(warnings=False),
        attempts=[AttemptView.model_validate(it) for it in await attempts_of_order(work, order_id)],
        refunds=[RefundView.model_validate(it) for it in await refunds_of_order(work, order_id)],
    )


@router.get("/totals")
async def totals(work: Work, _: Staff) -> Totals:
    cents = await balances(work)
    return Totals(
        authorized_cents=cents[Account.HELD],
        captured_cents=cents[Account.CAPTURED],
        voided_cents=cents[Account.VOIDED],
        refunded_cents=cents[Account.REFUNDED],
    )


@router.get("/discrepancies")
async def discrepancies(work: Work, _: Staff, limit: Limit = 50, cursor: Cursor = None) -> Page[DiscrepancyView]:
    (after,) = decode_cursor(cursor, ("",))
    found = await discrepancies_after(work, after, limit + 1)
    return page(found, limit, DiscrepancyView.model_validate, lambda it: (it.provider_id,))
