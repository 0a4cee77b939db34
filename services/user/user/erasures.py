"""Erase me: what this service holds goes at once, and every other one is asked until it has reported."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from chassis.work import UnitOfWork
from contracts.user import ErasureView, UserErased
from user import login_throttle
from user.config import UserSettings
from user.models import Account, Address, Erasure, PasswordReset, RefreshToken


async def erase_account(account: Account, work: UnitOfWork) -> Erasure:
    """Delete a locked account with all that belongs to it; its mail address is free again."""
    settings: UserSettings = work.settings
    gone: list[Any] = [account]
    for table in (Address, RefreshToken, PasswordReset):
        gone += await work.lock(table, account_id=[account.id])
    for row in gone:
        work.remove(row)
    rows = len(gone) + await login_throttle.clear_failures(account.email, work)
    erasure = work.add(
        Erasure.new(
            id=uuid4(),  # all of it random: who knows it may read the report, without an account to sign in to
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


def announce_erasure(erasure: Erasure, work: UnitOfWork) -> None:
    work.send(UserErased(user_id=erasure.user_id, erasure_id=erasure.id))


def record_report(erasure: Erasure, service: str, rows: int, work: UnitOfWork) -> None:
    """The first report of a service counts: whoever is asked again has nothing left. The last one ends the erasure."""
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
