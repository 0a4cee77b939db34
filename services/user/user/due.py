"""Deadlines: expired rows are removed, signing keys rotate, erasures that wait for reports are sent again."""

import logging
from datetime import timedelta

from chassis.due import Due
from chassis.work import UnitOfWork
from user import erasures, keys
from user.config import UserSettings
from user.models import Erasure, LoginThrottle, PasswordReset, RefreshToken, Row, SigningKey

logger = logging.getLogger(__name__)
due = Due()


@due(RefreshToken.expires_at)
@due(PasswordReset.expires_at)
@due(LoginThrottle.window_ends_at)
@due(SigningKey.published_until)
def remove_expired(row: Row, work: UnitOfWork) -> None:
    work.remove(row)


@due(SigningKey.rotates_at)
def rotate_key(key: SigningKey, work: UnitOfWork) -> None:
    keys.rotate_key(key, work)


@due(Erasure.due_at)
def repeat_or_remove_erasure(erasure: Erasure, work: UnitOfWork) -> None:
    """Send UserErased again while reports are missing; remove a complete erasure at the end of its retention."""
    if erasure.completed_at is not None:
        return work.remove(erasure)
    settings: UserSettings = work.settings
    logger.warning(
        "an erasure still waits for reports and is sent again",
        extra={"erasure_id": str(erasure.id), "waiting_for": erasure.waiting_for},
    )
    erasures.announce_erasure(erasure, work)
    erasure.due_at = work.now + timedelta(seconds=settings.erasure_repeat_seconds)
