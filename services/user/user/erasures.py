"""Erasure of a person (the right to erasure, GDPR article 17).

This service removes its rows at once, and asks every other service again and again until it has reported.
"""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from chassis.database import UnitOfWork
from contracts.user import ErasureView, UserErased
from user import login_throttle
from user.config import UserSettings
from user.models import Account, Address, Erasure, PasswordReset, RefreshToken


async def erase_account(account: Account, work: UnitOfWork[UserSettings]) -> Erasure:
    """Remove a locked account and all that belongs to it. Its mail address can be registered again."""
    settings = work.settings
    removed: list[Any] = [account]
    for table in (Address, RefreshToken, PasswordReset):
        removed += await work.lock(table, account_id=[account.id])
    for row in removed:
        work.remove(row)
    rows = len(removed) + await login_throttle.clear_failures(account.email, work)
    erasure = work.add(
        Erasure.new(
            id=uuid4(),  # fully random, because knowing the id is enough to read the report
            user_id=account.id,
            requested_at=work.now,
            waiting_for=list(settings.erasure_services),
            reports=[],
            due_at=work.now + timedelta(seconds=settings.erasure_repeat_seconds),
        )
    )
    record_report(erasure, "user", rows, work)
    announce_erasure(erasure, work)
    return erasure


def announce_erasure(erasure: Erasure, work: UnitOfWork[UserSettings]) -> None:
    work.send(UserErased(user_id=erasure.user_id, erasure_id=erasure.id))


def record_report(erasure: Erasure, service: str, rows: int, work: UnitOfWork[UserSettings]) -> None:
    """Keep the first report of each service, because a service that is asked again has nothing left to remove.

    The last report completes the erasure.
    """
    if service in {it["service"] for it in erasure.reports}:
        return
    erasure.reports = [*erasure.reports, {"service": service, "rows": rows, "at": work.now.isoformat()}]
    erasure.waiting_for = [it for it in erasure.waiting_for if it != service]
    if not erasure.waiting_for and erasure.completed_at is None:
        settings: UserSettings = work.settings
        erasure.completed_at = work.now
        erasure.due_at = work.now + timedelta(seconds=settings.erasure_retention_seconds)


def erasure_view(erasure: Erasure) -> ErasureView:
    return ErasureView.model_validate(erasure, from_attributes=True)
