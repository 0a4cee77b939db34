"""Every SELECT of the payment service, by name."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, case
from sqlmodel import bindparam, col, func, select

from chassis.database import UnitOfWork
from contracts.payment_api import PaymentNotFound
from payment.models import Attempt, Balance, Discrepancy, LedgerAccount, LedgerEntry, Payment, Reconciliation, Refund

LOWEST_ID, HIGHEST_ID = UUID(int=0), UUID(int=2**128 - 1)  # before and after every id

_one_of = any_(bindparam("order_ids", type_=ARRAY(Uuid)))
_payment = select(Payment).where(Payment.order_id == bindparam("order_id"))
_attempts = select(Attempt).where(Attempt.order_id == bindparam("order_id")).order_by(col(Attempt.id))
_refunds = select(Refund).where(Refund.order_id == bindparam("order_id")).order_by(col(Refund.id))
_unknown = select(Attempt).where(col(Attempt.order_id) == _one_of, col(Attempt.outcome).is_(None))
_unreconciled = (
    select(Payment.order_id)
    .where(col(Payment.reconciled).is_(False), Payment.order_id > bindparam("after"))
    .order_by(col(Payment.order_id))
    .limit(bindparam("limit"))
)
_position = select(Reconciliation.position)
_discrepancies = (
    select(Discrepancy)
    .where(Discrepancy.provider_id > bindparam("after"))
    .order_by(col(Discrepancy.provider_id))
    .limit(bindparam("limit"))
)
_discrepant_ids = select(Discrepancy.provider_id).where(Discrepancy.reference == bindparam("reference"))
_balances = select(Balance)
_movements = (
    select(LedgerEntry.debit, LedgerEntry.credit, func.sum(LedgerEntry.amount_cents).label("cents"))
    .where(LedgerEntry.id > bindparam("after"), LedgerEntry.id <= bindparam("until"))
    .group_by(col(LedgerEntry.debit), col(LedgerEntry.credit))
)


def _balance(account: LedgerAccount) -> Any:
    """The debits of an account less its credits."""
    sign = case((col(LedgerEntry.debit) == account.value, 1), (col(LedgerEntry.credit) == account.value, -1), else_=0)
    return func.sum(sign * col(LedgerEntry.amount_cents))


_books = (
    select(
        LedgerEntry.order_id,
        _balance(LedgerAccount.HELD).label("held"),
        _balance(LedgerAccount.CAPTURED).label("captured"),
    )
    .where(col(LedgerEntry.order_id) == _one_of)
    .group_by(col(LedgerEntry.order_id))
)


async def payment_of_order(work: UnitOfWork, order_id: UUID) -> Payment:
    payment = await work.one(_payment, order_id=order_id)
    if payment is None:
        raise PaymentNotFound()
    return payment


async def attempts_of_order(work: UnitOfWork, order_id: UUID) -> list[Attempt]:
    """All attempts of an order, the oldest first."""
    return await work.fetch(_attempts, order_id=order_id)


async def refunds_of_order(work: UnitOfWork, order_id: UUID) -> list[Refund]:
    return await work.fetch(_refunds, order_id=order_id)


async def unknown_attempts(work: UnitOfWork, order_ids: Sequence[UUID]) -> list[Attempt]:
    """The attempts of these orders whose outcome is unknown."""
    return await work.fetch(_unknown, order_ids=order_ids)


async def unreconciled_after(work: UnitOfWork, order_id: UUID, limit: int) -> list[UUID]:
    """Orders that have entries since the provider last confirmed their amounts, by id, beginning after `order_id`."""
    return await work.fetch(_unreconciled, after=order_id, limit=limit)


async def compared_position(work: UnitOfWork) -> int:
    """The number of the provider's last change that was compared with the ledger."""
    return await work.one(_position) or 0


async def discrepancies_after(work: UnitOfWork, provider_id: str, limit: int) -> list[Discrepancy]:
    return await work.fetch(_discrepancies, after=provider_id, limit=limit)


async def discrepant_ids_of_reference(work: UnitOfWork, reference: str) -> list[str]:
    """The provider's ids of payments for this order that have a discrepancy."""
    return await work.fetch(_discrepant_ids, reference=reference)


async def books_of_orders(work: UnitOfWork, order_ids: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
    """The cents held and captured for each order by the ledger; orders without entries are left out."""
    found = await work.fetch(_books, order_ids=order_ids)
    return {row["order_id"]: (int(row["held"]), int(row["captured"])) for row in found}


async def movements_between(work: UnitOfWork, after: UUID, until: UUID) -> dict[LedgerAccount, int]:
    """The change of each account in cents by the entries after one id, up to and including another."""
    cents: dict[LedgerAccount, int] = defaultdict(int)
    for row in await work.fetch(_movements, after=after, until=until):
        cents[LedgerAccount(row["debit"])] += int(row["cents"])
        cents[LedgerAccount(row["credit"])] -= int(row["cents"])
    return cents


async def balances(work: UnitOfWork) -> dict[LedgerAccount, int]:
    """The cents in each account: the closed balances, and the entries since."""
    closed = await work.fetch(_balances)
    since = await movements_between(work, max((it.closed_id for it in closed), default=LOWEST_ID), HIGHEST_ID)
    before = {it.account: it.cents for it in closed}
    return {account: before.get(account, 0) + since[account] for account in LedgerAccount}
