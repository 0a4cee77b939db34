"""What happens by itself: what has expired goes away, signing keys rotate, erasures that wait are announced again."""

import logging
from datetime import timedelta

from chassis.database.unit_of_work import UnitOfWork
from chassis.jobs.deadlines import Due
from user import erasures, keys
from user.config import UserSettings
from user.models import Erasure, PasswordReset, RefreshToken, Row, SigningKey, WrongPasswords

logger = logging.getLogger(__name__)
due = Due()


@due(RefreshToken.expires_at)
@due(PasswordReset.expires_at)
@due(WrongPasswords.ends_at)
@due(SigningKey.published_until)
def forget(row: Row, work: UnitOfWork) -> None:
    work.remove(row)


@due(SigningKey.rotates_at)
def rotate_key(key: SigningKey, work: UnitOfWork) -> None:
    keys.rotate(key, work)


@due(Erasure.due_at)
def follow_erasure(erasure: Erasure, work: UnitOfWork) -> None:
    """One that is done was kept long enough."""
    if erasure.done_at is not None:
        return work.remove(erasure)
    settings: UserSettings = work.settings
    logger.warning(
        "an erasure waits and is announced again",
        extra={"erasure_id": str(erasure.id), "waiting_for": erasure.waiting_for},
    )
    erasures.announce(erasure, work)
    erasure.due_at = work.now + timedelta(seconds=settings.erasure_again_seconds)
