"""Passwords are checked for a limited number of wrong guesses; whoever reads the mail can always set a new one.

Guesses are counted per mail address, whether or not it has an account, so that the limit does not tell. Nobody is
shut out for good: sessions go on, and a reset by mail forgets the count and signs in.
"""

from datetime import timedelta
from uuid import UUID

from chassis.database import UnitOfWork
from chassis.errors import Conflict, Problem
from user import passwords, queries
from user.config import UserSettings
from user.errors import TooManyWrongPasswords, WrongCredentials, WrongPassword
from user.models import Account, WrongPasswords

# The row's lock makes those who guess at the same time wait for each other's count.
_count = """
INSERT INTO wrong_passwords AS it (digest, times, ends_at) VALUES ($1, 1, now() + $2)
ON CONFLICT (digest) DO UPDATE SET
    times = CASE WHEN it.ends_at > now() THEN it.times + 1 ELSE 1 END,
    ends_at = CASE WHEN it.ends_at > now() THEN it.ends_at ELSE excluded.ends_at END
RETURNING times, ends_at
"""


async def proven(who: str | UUID, password: str, work: UnitOfWork) -> Account | Problem:
    """The account of a mail address or of a caller, locked, if the password is right.

    A Problem is to be returned and not raised: the wrong guess is counted with the commit.
    """
    settings: UserSettings = work.settings
    async with passwords.turn():
        account = await (queries.account_of(work, who) if isinstance(who, str) else queries.account_by_id(work, who))
        digest = digest_of(account.email if account else str(who), settings)
        wrong = await queries.wrong_passwords(work, digest)
        if wrong is not None and wrong.times >= settings.wrong_passwords:
            await work.begin()
            return _too_many(wrong, work)
        matched = await passwords.matches(password, account.password_hash if account else None)
    if account is not None and matched:
        return await _right(account, digest, work)
    (row,) = await work.execute(_count, digest, timedelta(seconds=settings.wrong_passwords_seconds))
    if row["times"] > settings.wrong_passwords:
        return _too_many(WrongPasswords.new(digest=digest, **row), work)
    return WrongCredentials() if isinstance(who, str) else WrongPassword(field="password")


async def _right(account: Account, digest: str, work: UnitOfWork) -> Account | Problem:
    """Guesses that were checked at the same moment count as well, and the password may have changed meanwhile."""
    settings: UserSettings = work.settings
    locked = await work.lock(Account, id=[account.id])
    for wrong in await work.lock(WrongPasswords, digest=[digest]):
        if wrong.times >= settings.wrong_passwords and wrong.ends_at > work.now:
            return _too_many(wrong, work)
        work.remove(wrong)
    if not locked or locked[0].password_hash != account.password_hash:
        raise Conflict()
    return locked[0]


async def forget(email: str, work: UnitOfWork) -> int:
    """The number of rows that were forgotten."""
    found = await work.lock(WrongPasswords, digest=[digest_of(email, work.settings)])
    for wrong in found:
        work.remove(wrong)
    return len(found)


def digest_of(email: str, settings: UserSettings) -> str:
    """Under the service key, so that the table does not tell whose address was tried."""
    return settings.derived("wrong passwords", email.encode()).hex()


def _too_many(wrong: WrongPasswords, work: UnitOfWork) -> TooManyWrongPasswords:
    return TooManyWrongPasswords(retry_after=int((wrong.ends_at - work.now).total_seconds()) + 1)
