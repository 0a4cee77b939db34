"""Every SELECT of the payment service, by name."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, case
from sqlmodel import bindparam, col, func, select

from chassis.database import UnitOfWork
from payment.errors import PaymentNotFound
from payment.models import Account, Attempt, Balance, Discrepancy, Entry, Payment, Reconciliation, Refund

NEVER, FOREVER = UUID(int=0), UUID(int=2**128 - 1)  # before and after every id

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
_doubtful = select(Discrepancy.provider_id).where(Discrepancy.reference == bindparam("reference"))
_balances = select(Balance)
_moved = (
    select(Entry.debit, Entry.credit, func.sum(Entry.amount_cents).label("cents"))
    .where(Entry.id > bindparam("after"), Entry.id <= bindparam("until"))
    .group_by(col(Entry.debit), col(Entry.credit))
)


def _balance(account: Account) -> Any:
    """What came into an account less what went out."""
    sign = case((col(Entry.debit) == account.value, 1), (col(Entry.credit) == account.value, -1), else_=0)
    return func.sum(sign * col(Entry.amount_cents))


_books = (
    select(Entry.order_id, _balance(Account.HELD).label("held"), _balance(Account.CAPTURED).label("captured"))
    .where(col(Entry.order_id) == _one_of)
    .group_by(col(Entry.order_id))
)


async def payment_of_order(work: UnitOfWork, order_id: UUID) -> Payment:
    payment = await work.one(_payment, order_id=order_id)
    if payment is None:
        raise PaymentNotFound()
    return payment


async def attempts_of_order(work: UnitOfWork, order_id: UUID) -> list[Attempt]:
    """The oldest first."""
    return await work.fetch(_attempts, order_id=order_id)


async def refunds_of_order(work: UnitOfWork, order_id: UUID) -> list[Refund]:
    return await work.fetch(_refunds, order_id=order_id)


async def unknown_attempts(work: UnitOfWork, order_ids: Sequence[UUID]) -> list[Attempt]:
    """Those whose outcome is unknown."""
    return await work.fetch(_unknown, order_ids=order_ids)


async def unreconciled_after(work: UnitOfWork, order_id: UUID, limit: int) -> list[UUID]:
    """Orders whose money has moved since the provider last said the same, those after this one."""
    return await work.fetch(_unreconciled, after=order_id, limit=limit)


async def position(work: UnitOfWork) -> int:
    """The number of the provider's last change that was compared with the books."""
    return await work.one(_position) or 0


async def discrepancies_after(work: UnitOfWork, provider_id: str, limit: int) -> list[Discrepancy]:
    return await work.fetch(_discrepancies, after=provider_id, limit=limit)


async def doubtful_of_reference(work: UnitOfWork, reference: str) -> list[str]:
    """The provider's ids where we did not agree about this order."""
    return await work.fetch(_doubtful, reference=reference)


async def books_of_orders(work: UnitOfWork, order_ids: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
    """The cents held and captured of each; those without entries are left out."""
    found = await work.fetch(_books, order_ids=order_ids)
    return {row["order_id"]: (int(row["held"]), int(row["captured"])) for row in found}


async def moved(work: UnitOfWork, after: UUID, until: UUID) -> dict[Account, int]:
    """By how many cents each account was changed by the entries after one id up to another."""
    cents: dict[Account, int] = defaultdict(int)
    for row in await work.fetch(_moved, after=after, until=until):
        cents[Account(row["debit"])] += int(row["cents"])
        cents[Account(row["credit"])] -= int(row["cents"])
    return cents


async def balances(work: UnitOfWork) -> dict[Account, int]:
    """The cents in each account: closed balances, and what was moved since."""
    closed = await work.fetch(_balances)
    since = await moved(work, max((it.closed_id for it in closed), default=NEVER), FOREVER)
    before = {it.account: it.cents for it in closed}
    return {account: before.get(account, 0) + since[account] for account in Account}
