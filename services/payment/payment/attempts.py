"""Attempts: requests to the provider, stored before the commit and sent after it."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from chassis.database import UnitOfWork, new_id
from payment.models import Attempt, AttemptKind, Payment

SOON = timedelta(seconds=1)


def add_attempt(kind: AttemptKind, payment: Payment, work: UnitOfWork, **more: Any) -> None:
    """Add a request to the provider, which is repeated until its outcome is known.

    `more` are further columns of the attempt; without `amount_cents` the request is for the whole payment.
    """
    values = {"amount_cents": payment.amount_cents, "provider_id": payment.provider_id, **more}
    row = Attempt.new(
        id=new_id(),
        order_id=payment.order_id,
        kind=kind,
        currency=payment.currency,
        due_at=work.now,
        causation=work.causation(),
        **values,
    )
    work.add(row)


def retry_soon(attempts: Iterable[Attempt], work: UnitOfWork) -> None:
    """Repeat the attempts whose outcome is unknown within a second, because something has changed at the provider.

    Not at once: a new `due_at` invalidates the answer to a call that is running. With the delay, a burst of webhooks
    makes one call a second.
    """
    for unknown in attempts:
        if unknown.due_at is not None:
            unknown.due_at = min(unknown.due_at, work.now + SOON)
