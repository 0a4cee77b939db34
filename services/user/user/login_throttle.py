"""Passwords are checked for a limited number of wrong guesses; whoever reads the mail can always set a new one.

Guesses are counted per mail address, whether or not it has an account, so that the limit does not tell. Nobody is
shut out for good: sessions go on, and a reset by mail forgets the count and signs in.
"""

from datetime import timedelta
from uuid import UUID

from chassis.errors import Conflict, Problem
from chassis.work import UnitOfWork
from user import passwords, queries
from user.config import UserSettings
from user.errors import TooManyWrongPasswords, WrongCredentials, WrongPassword
from user.models import Account, LoginThrottle

# The row's lock makes those who guess at the same time wait for each other's count.
_count_failure = """
INSERT INTO login_throttles AS it (email_digest, failures, window_ends_at) VALUES ($1, 1, now() + $2)
ON CONFLICT (email_digest) DO UPDATE SET
    failures = CASE WHEN it.window_ends_at > now() THEN it.failures + 1 ELSE 1 END,
    window_ends_at = CASE WHEN it.window_ends_at > now() THEN it.window_ends_at ELSE excluded.window_ends_at END
RETURNING failures, window_ends_at
"""


async def verify_password(who: str | UUID, password: str, work: UnitOfWork) -> Account | Problem:
    """The account of a mail address or of a caller, locked, if the password is right.

    A Problem is to be returned and not raised: the wrong guess is counted with the commit.
    """
    settings: UserSettings = work.settings
    async with passwords.hashing_slot():
        account = await (
            queries.account_by_email(work, who) if isinstance(who, str) else queries.account_by_id(work, who)
        )
        digest = digest_of_email(account.email if account else str(who), settings)
        throttle = await queries.login_throttle(work, digest)
        if throttle is not None and throttle.failures >= settings.login_failures_per_email:
            await work.begin()
            return _refusal(throttle, work)
        matched = await passwords.password_matches(password, account.password_hash if account else None)
    if account is not None and matched:
        return await _accept(account, digest, work)
    (row,) = await work.execute(_count_failure, digest, timedelta(seconds=settings.login_failure_window_seconds))
    if row["failures"] > settings.login_failures_per_email:
        return _refusal(LoginThrottle.new(email_digest=digest, **row), work)
    return WrongCredentials() if isinstance(who, str) else WrongPassword(field="password")


async def _accept(account: Account, digest: str, work: UnitOfWork) -> Account | Problem:
    """Guesses that were checked at the same moment count as well, and the password may have changed meanwhile."""
    settings: UserSettings = work.settings
    locked = await work.lock(Account, id=[account.id])
    for throttle in await work.lock(LoginThrottle, email_digest=[digest]):
        if throttle.failures >= settings.login_failures_per_email and throttle.window_ends_at > work.now:
            return _refusal(throttle, work)
        work.remove(throttle)
    if not locked or locked[0].password_hash != account.password_hash:
        raise Conflict()
    return locked[0]


async def clear_failures(email: str, work: UnitOfWork) -> int:
    """The number of rows that were forgotten."""
    found = await work.lock(LoginThrottle, email_digest=[digest_of_email(email, work.settings)])
    for throttle in found:
        work.remove(throttle)
    return len(found)


def digest_of_email(email: str, settings: UserSettings) -> str:
    """Under the service key, so that the table does not tell whose address was tried."""
    return settings.derive_secret("login throttle", email.encode()).hex()


def _refusal(throttle: LoginThrottle, work: UnitOfWork) -> TooManyWrongPasswords:
    return TooManyWrongPasswords(retry_after=int((throttle.window_ends_at - work.now).total_seconds()) + 1)
