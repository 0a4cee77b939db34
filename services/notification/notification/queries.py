"""Every SELECT of the notification service, by name."""

from collections.abc import Iterable
from uuid import UUID

from sqlmodel import bindparam, col, select

from chassis.database import UnitOfWork
from notification.models import Mail, Preference

# Times are the database's. Rows that another worker has locked at this moment are skipped.
_due = "SELECT id FROM mails WHERE due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED"
_old = "SELECT id FROM mails WHERE requested_at < now() - make_interval(secs => $1) LIMIT $2 FOR UPDATE SKIP LOCKED"
_opted_out = "SELECT user_id FROM preferences WHERE user_id = ANY($1::uuid[]) AND NOT advertising"
_preference = select(Preference).where(col(Preference.user_id) == bindparam("user_id"))


async def due_mails(work: UnitOfWork, limit: int) -> list[Mail]:
    """Mails whose next try is due, locked; the longest overdue first."""
    ids = [row["id"] for row in await work.execute(_due, limit)]
    return await work.lock(Mail, id=ids) if ids else []


async def old_mails(work: UnitOfWork, seconds: float, limit: int) -> list[Mail]:
    """Mails that were requested more than `seconds` ago, locked."""
    ids = [row["id"] for row in await work.execute(_old, seconds, limit)]
    return await work.lock(Mail, id=ids) if ids else []


async def opted_out(work: UnitOfWork, user_ids: Iterable[UUID]) -> set[UUID]:
    """Those of the users who have opted out of advertising."""
    return {row["user_id"] for row in await work.read(_opted_out, list(user_ids))}


async def accepts_advertising(work: UnitOfWork, user_id: UUID) -> bool:
    """Whether the user may be sent advertising: yes, until the user opts out.

    The law allows that for customers and similar products. Source: Directive 2002/58/EC, article 13(2).
    """
    preference = await work.one(_preference, user_id=user_id)
    return preference is None or preference.advertising
