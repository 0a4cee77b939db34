"""What staff may ask: one payment with its attempts and refunds, the balances, and where the provider differs."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from chassis.pages import Cursor, Limit, Page, page, position
from chassis.web import Router, Staff, Work
from payment.models import AttemptKind, DiscrepancyKind, LedgerAccount, PaymentRefundState, PaymentState
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


class PaymentRefundView(View):
    """A part that was to be given back."""

    id: UUID
    amount_cents: int
    state: PaymentRefundState
    reason: str | None


class PaymentView(View):
    order_id: UUID
    amount_cents: int
    currency: str
    state: PaymentState
    reason: str | None
    provider_id: str | None
    attempts: list[AttemptView]
    refunds: list[PaymentRefundView]


class LedgerTotals(BaseModel):
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
async def get_payment(order_id: UUID, work: Work, _: Staff) -> PaymentView:
    found = await payment_of_order(work, order_id)
    return PaymentView(
        **found.model_dump(warnings=False),
        attempts=[AttemptView.model_validate(it) for it in await attempts_of_order(work, order_id)],
        refunds=[PaymentRefundView.model_validate(it) for it in await refunds_of_order(work, order_id)],
    )


@router.get("/totals")
async def get_totals(work: Work, _: Staff) -> LedgerTotals:
    cents = await balances(work)
    return LedgerTotals(
        authorized_cents=cents[LedgerAccount.HELD],
        captured_cents=cents[LedgerAccount.CAPTURED],
        voided_cents=cents[LedgerAccount.VOIDED],
        refunded_cents=cents[LedgerAccount.REFUNDED],
    )


@router.get("/discrepancies")
async def list_discrepancies(work: Work, _: Staff, limit: Limit = 50, cursor: Cursor = None) -> Page[DiscrepancyView]:
    (after,) = position(cursor, ("",))
    found = await discrepancies_after(work, after, limit + 1)
    return page(found, limit, DiscrepancyView.model_validate, lambda it: (it.provider_id,))
