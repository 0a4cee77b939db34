"""What happens by itself: what has expired goes away, signing keys rotate, erasures that wait are announced again."""

import logging
from datetime import timedelta

from chassis.database import UnitOfWork
from chassis.jobs import Deadlines
from user import erasures, keys
from user.config import UserSettings
from user.models import Erasure, PasswordReset, RefreshToken, Row, SigningKey, WrongPasswords

logger = logging.getLogger(__name__)
deadlines = Deadlines()


@deadlines(RefreshToken.expires_at)
@deadlines(PasswordReset.expires_at)
@deadlines(WrongPasswords.ends_at)
@deadlines(SigningKey.published_until)
def forget(row: Row, work: UnitOfWork) -> None:
    work.remove(row)


@deadlines(SigningKey.rotates_at)
def rotate_key(key: SigningKey, work: UnitOfWork) -> None:
    keys.rotate(key, work)


@deadlines(Erasure.due_at)
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
