"""Routes for staff: a payment with its attempts and refunds, the totals of the ledger, and discrepancies."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from chassis.web import Cursor, InvalidCursor, Limit, Page, Router, Staff, Work, decode_cursor, page, raises
from contracts.payment import Cents
from contracts.payment_api import PaymentNotFound
from payment.models import AttemptKind, DiscrepancyKind, LedgerAccount, PaymentRefundState, PaymentState
from payment.queries import attempts_of_order, balances, discrepancies_after, payment_of_order, refunds_of_order

router = Router(tags=["Payments"])


class View(BaseModel):
    """The base of views that are made from rows."""

    model_config = ConfigDict(from_attributes=True)


class AttemptView(View):
    """A request to the provider."""

    id: UUID
    kind: AttemptKind
    amount_cents: Cents
    outcome: str | None = Field(description="The provider's answer; null while it is unknown.", examples=["captured"])
    tries: int = Field(description="How often the request was repeated.")


class PaymentRefundView(View):
    """A refund of a part of the payment."""

    id: UUID
    amount_cents: Cents
    state: PaymentRefundState
    reason: str | None = Field(description="Why it was refused, as a code.", examples=["account_closed"])


class PaymentView(View):
    """The payment of an order with its attempts and refunds."""

    order_id: UUID
    amount_cents: Cents
    currency: str
    state: PaymentState
    reason: str | None = Field(description="Why it was declined or not captured.", examples=["insufficient_funds"])
    provider_id: str | None = Field(description="The payment's id at the provider.", examples=["pay_1"])
    attempts: list[AttemptView]
    refunds: list[PaymentRefundView]


class LedgerTotals(BaseModel):
    """The balances of the ledger, in minor units."""

    authorized_cents: int = Field(description="Held on customers' accounts.")
    captured_cents: int = Field(description="Captured, less what was voided or refunded since.")
    voided_cents: int = Field(description="Released or given back by VoidPayment.")
    refunded_cents: int = Field(description="Given back by RefundPayment.")


class DiscrepancyView(View):
    """A payment whose amounts at the provider and in the ledger differ since `found_at`."""

    provider_id: str = Field(description="The payment's id at the provider.", examples=["pay_1"])
    reference: str = Field(description="What the provider has as its reference: the order's id, if it is ours.")
    kind: DiscrepancyKind
    found_at: datetime
    our_held_cents: Cents
    our_captured_cents: Cents
    their_held_cents: Cents
    their_captured_cents: Cents


@router.get("/payments/{order_id}", responses=raises(PaymentNotFound))
async def get_payment(order_id: UUID, work: Work, _: Staff) -> PaymentView:
    """Get the payment of an order

    For staff, with every request that was made to the provider.
    """
    found = await payment_of_order(work, order_id)
    return PaymentView(
        **found.model_dump(warnings=False),
        attempts=[AttemptView.model_validate(it) for it in await attempts_of_order(work, order_id)],
        refunds=[PaymentRefundView.model_validate(it) for it in await refunds_of_order(work, order_id)],
    )


@router.get("/totals")
async def get_totals(work: Work, _: Staff) -> LedgerTotals:
    """Get the totals of the ledger

    For staff. All payments together.
    """
    cents = await balances(work)
    return LedgerTotals(
        authorized_cents=cents[LedgerAccount.HELD],
        captured_cents=cents[LedgerAccount.CAPTURED],
        voided_cents=cents[LedgerAccount.VOIDED],
        refunded_cents=cents[LedgerAccount.REFUNDED],
    )


@router.get("/discrepancies", responses=raises(InvalidCursor))
async def list_discrepancies(work: Work, _: Staff, limit: Limit = 50, cursor: Cursor = None) -> Page[DiscrepancyView]:
    """List discrepancies

    For staff: payments whose amounts at the provider and in the ledger differed at the last reconciliation. An
    `unsettled` one is settled by the service itself; the others need a decision.
    """
    (after,) = decode_cursor(cursor, ("",))
    found = await discrepancies_after(work, after, limit + 1)
    return page(found, limit, DiscrepancyView.model_validate, lambda it: (it.provider_id,))
