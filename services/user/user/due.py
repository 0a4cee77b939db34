"""Deadlines: expired rows are removed, signing keys rotate, erasures that wait for reports are sent again."""

import logging
from datetime import timedelta

from chassis.database import Table, UnitOfWork
from chassis.jobs import Deadlines
from user import erasures, keys
from user.config import UserSettings
from user.models import Erasure, LoginThrottle, PasswordReset, RefreshToken, SigningKey

logger = logging.getLogger(__name__)
deadlines = Deadlines()


@deadlines(RefreshToken.expires_at)
@deadlines(PasswordReset.expires_at)
@deadlines(LoginThrottle.window_ends_at)
@deadlines(SigningKey.published_until)
def remove_expired(row: Table, work: UnitOfWork[UserSettings]) -> None:
    work.remove(row)


@deadlines(SigningKey.rotates_at)
def rotate_key(key: SigningKey, work: UnitOfWork[UserSettings]) -> None:
    keys.rotate_key(key, work)


@deadlines(Erasure.due_at)
def repeat_or_remove_erasure(erasure: Erasure, work: UnitOfWork[UserSettings]) -> None:
    """Send UserErased again while reports are missing; remove a complete erasure at the end of its retention."""
    if erasure.completed_at is not None:
        return work.remove(erasure)
    settings = work.settings
    logger.warning(
        "an erasure still waits for reports and is sent again",
        extra={"erasure_id": str(erasure.id), "waiting_for": erasure.waiting_for},
    )
    erasures.announce_erasure(erasure, work)
    erasure.due_at = work.now + timedelta(seconds=settings.erasure_repeat_seconds)
