"""Requests to the provider are written down before they are made, and made after the commit."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from chassis.tables import new_id
from chassis.work import UnitOfWork
from payment.models import Attempt, AttemptKind, Payment

SOON = timedelta(seconds=1)


def add_attempt(kind: AttemptKind, payment: Payment, work: UnitOfWork, **more: Any) -> None:
    """Ask the provider for this, until its answer is known. Without `amount_cents` it is about the whole payment."""
    values = {"amount_cents": payment.amount_cents, "provider_id": payment.provider_id, **more}
    row = Attempt.new(
        id=new_id(),
        order_id=payment.order_id,
        kind=kind,
        currency=payment.currency,
        due_at=work.now,
        cause=work.origin(),
        **values,
    )
    work.add(row)


def retry_soon(attempts: Iterable[Attempt], work: UnitOfWork) -> None:
    """There is news at the provider: ask again, with the same key, for what is unknown.

    Within a second, not at once: the answer of a call that is under way is dropped for that of the next one, and so
    a storm of news makes a call a second.
    """
    for unknown in attempts:
        if unknown.due_at is not None:
            unknown.due_at = min(unknown.due_at, work.now + SOON)
