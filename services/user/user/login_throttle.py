"""The login throttle: after too many wrong passwords for a mail address, no password is checked for a while.

Failures are counted per mail address, whether it has an account or not, so that the throttle does not reveal accounts.
It locks no user out for good: sessions go on, and a password reset by mail clears the count and signs in.
"""

from datetime import timedelta
from uuid import UUID

from chassis.database import UnitOfWork
from chassis.errors import Conflict
from contracts.user_api import TooManyWrongPasswords, WrongCredentials, WrongPassword
from user import passwords, queries
from user.config import UserSettings
from user.models import Account, LoginThrottle

# The lock of the row makes concurrent attempts count one after the other.
_count_failure = """
INSERT INTO login_throttles AS it (email_digest, failures, window_ends_at) VALUES ($1, 1, now() + $2)
ON CONFLICT (email_digest) DO UPDATE SET
    failures = CASE WHEN it.window_ends_at > now() THEN it.failures + 1 ELSE 1 END,
    window_ends_at = CASE WHEN it.window_ends_at > now() THEN it.window_ends_at ELSE excluded.window_ends_at END
RETURNING failures, window_ends_at
"""


async def verify_password(email_or_id: str | UUID, password: str, work: UnitOfWork[UserSettings]) -> Account:
    """The locked account of a mail address or an account id, if the password is right.

    Raises WrongCredentials or WrongPassword, and TooManyWrongPasswords. These problems commit, so that failures count.
    """
    settings = work.settings
    async with passwords.hashing_slot():
        if isinstance(email_or_id, str):
            account = await queries.account_by_email(work, email_or_id)
        else:
            account = await queries.account_by_id(work, email_or_id)
        digest = digest_of_email(account.email if account else str(email_or_id), settings)
        throttle = await queries.login_throttle(work, digest)
        if throttle is not None and throttle.failures >= settings.login_failures_per_email:
            await work.begin()
            raise _throttled(throttle, work)
        matched = await passwords.password_matches(password, account.password_hash if account else None)
    if account is not None and matched:
        return await _accept(account, digest, work)
    (row,) = await work.execute(_count_failure, digest, timedelta(seconds=settings.login_failure_window_seconds))
    if row["failures"] > settings.login_failures_per_email:
        raise _throttled(LoginThrottle.new(email_digest=digest, **row), work)
    raise WrongCredentials() if isinstance(email_or_id, str) else WrongPassword(field="password")


async def _accept(account: Account, digest: str, work: UnitOfWork[UserSettings]) -> Account:
    """Lock the account and clear the count, unless concurrent attempts used up the limit.

    The password may have changed since it was compared: then it is a conflict.
    """
    settings = work.settings
    locked = await work.lock(Account, id=[account.id])
    for throttle in await work.lock(LoginThrottle, email_digest=[digest]):
        if throttle.failures >= settings.login_failures_per_email and throttle.window_ends_at > work.now:
            raise _throttled(throttle, work)
        work.remove(throttle)
    if not locked or locked[0].password_hash != account.password_hash:
        raise Conflict()
    return locked[0]


async def clear_failures(email: str, work: UnitOfWork[UserSettings]) -> int:
    """Remove the count of a mail address; returns the number of rows removed."""
    found = await work.lock(LoginThrottle, email_digest=[digest_of_email(email, work.settings)])
    for throttle in found:
        work.remove(throttle)
    return len(found)


def digest_of_email(email: str, settings: UserSettings) -> str:
    """A keyed digest, so that the table does not reveal which addresses were tried."""
    return settings.derive_secret("login throttle", email.encode()).hex()


def _throttled(throttle: LoginThrottle, work: UnitOfWork) -> TooManyWrongPasswords:
    return TooManyWrongPasswords(retry_after=int((throttle.window_ends_at - work.now).total_seconds()) + 1)
