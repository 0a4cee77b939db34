"""Every SELECT of the payment service, by name."""

from uuid import UUID

from sqlmodel import bindparam, col, func, select

from chassis.work import UnitOfWork
from payment.errors import PaymentNotFound
from payment.models import Attempt, Payment

_payment = select(Payment).where(Payment.order_id == bindparam("order_id"))
_attempts = select(Attempt).where(Attempt.order_id == bindparam("order_id")).order_by(col(Attempt.id))
_sums = select(Payment.state, func.sum(Payment.amount_cents)).group_by(Payment.state)


async def payment_of_order(work: UnitOfWork, order_id: UUID) -> Payment:
    payment = await work.one(_payment, order_id=order_id)
    if payment is None:
        raise PaymentNotFound()
    return payment


async def attempts_of_order(work: UnitOfWork, order_id: UUID) -> list[Attempt]:
    """The oldest first."""
    return await work.fetch(_attempts, order_id=order_id)


async def cents_by_state(work: UnitOfWork) -> dict[str, int]:
    return {state: int(cents) for state, cents in await work.fetch(_sums)}
