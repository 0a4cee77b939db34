"""What happens by itself: refresh tokens that have expired go away."""

from chassis.due import Due
from chassis.work import UnitOfWork
from user.models import RefreshToken

due = Due()


@due(RefreshToken.expires_at)
def forget_token(token: RefreshToken, work: UnitOfWork) -> None:
    work.remove(token)
