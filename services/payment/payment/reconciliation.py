"""Reconciliation of payments: comparing the provider's amounts with the ledger, and keeping the discrepancies."""

import logging
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Self
from uuid import UUID

from chassis.database import UnitOfWork
from payment.attempts import retry_soon
from payment.models import Attempt, Discrepancy, DiscrepancyKind, Payment
from payment.provider import ListedPayment
from payment.queries import books_of_orders, unknown_attempts

logger = logging.getLogger(__name__)


class ProviderBalance(NamedTuple):
    """What the provider holds and has captured of a payment, in cents; 0 if the provider no longer has the payment."""

    provider_id: str
    reference: str
    held: int = 0
    captured: int = 0

    @classmethod
    def of(cls, listed: ListedPayment) -> Self:
        held = listed.amount_cents if listed.status == "authorized" else 0
        return cls(listed.id, listed.reference, held, listed.captured_cents - listed.refunded_cents)

    @property
    def order_id(self) -> UUID | None:
        try:
            return UUID(self.reference)
        except ValueError:
            return None


async def compare_with_books(seen: Sequence[ProviderBalance], work: UnitOfWork) -> None:
    """Add a discrepancy where the amounts differ, and delete it where they agree again."""
    orders = order_ids(seen)
    await work.lock(Payment, order_id=orders)
    await work.lock(Discrepancy, provider_id=[it.provider_id for it in seen])
    books = await books_of_orders(work, orders)
    unknown = {attempt.order_id for attempt in await unknown_attempts(work, orders)}
    for it in seen:
        payment = work.get(Payment, it.order_id)
        if payment is None or payment.provider_id != it.provider_id:
            kind = DiscrepancyKind.UNSETTLED if it.order_id in unknown else DiscrepancyKind.UNKNOWN
            _record_comparison(it, (0, 0), kind, work)
        else:
            kind = DiscrepancyKind.UNSETTLED if it.order_id in unknown else DiscrepancyKind.DIFFERS
            payment.reconciled = _record_comparison(it, books.get(payment.order_id, (0, 0)), kind, work)


def _record_comparison(seen: ProviderBalance, ours: tuple[int, int], kind: DiscrepancyKind, work: UnitOfWork) -> bool:
    """Update the discrepancy of one payment; True if the amounts agree."""
    known = work.get(Discrepancy, seen.provider_id)
    agreed = ours == (seen.held, seen.captured)
    if known is not None:
        work.remove(known)
    if not agreed:
        found = Discrepancy.new(
            provider_id=seen.provider_id,
            reference=seen.reference,
            kind=kind,
            found_at=known.found_at if known else work.now,
            our_held_cents=ours[0],
            our_captured_cents=ours[1],
            their_held_cents=seen.held,
            their_captured_cents=seen.captured,
        )
        work.add(found)
        if known is not None:  # the second time: no change that was made during the first comparison
            logger.warning("the provider and the ledger do not agree on a payment", extra=found.model_dump(mode="json"))
    return agreed


def order_ids(seen: Iterable[ProviderBalance]) -> list[UUID]:
    return [id for it in seen if (id := it.order_id) is not None]


async def retry_unknown_attempts(orders: Collection[UUID], work: UnitOfWork) -> None:
    """Repeat the attempts of these orders whose outcome is unknown."""
    unknown = await unknown_attempts(work, list(orders))
    if unknown:
        retry_soon(await work.lock(Attempt, id=[attempt.id for attempt in unknown]), work)
