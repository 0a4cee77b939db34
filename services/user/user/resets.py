"""New passwords: set with the current one, or with the secret in a mail. The secret is derived from the reset's id."""

import base64
import hmac
from datetime import timedelta
from uuid import UUID

from chassis.database import UnitOfWork, new_id
from contracts.notification import Notify, Template
from contracts.user_api import ResetSecretRefused
from user import login_throttle, queries
from user.config import UserSettings
from user.models import Account, PasswordReset, RefreshToken


async def request_reset(email: str, work: UnitOfWork[UserSettings]) -> None:
    """Have a mail sent, if the address has an account that has not had too many mails.

    The same statements run in every case, so that response times do not reveal which addresses have an account.
    """
    settings = work.settings
    account = await queries.account_by_email(work, email)
    account_id = account.id if account else new_id()
    locked = await work.lock(Account, id=[account_id])  # concurrent requests count each other's mails
    mailed = await queries.mailed_resets_of_account(work, account_id)
    may_send = bool(locked) and mailed < settings.password_reset_mails_per_account
    expires_at = work.now + timedelta(seconds=settings.password_reset_seconds)
    reset = work.add(PasswordReset.new(id=new_id(), account_id=account_id if may_send else None, expires_at=expires_at))
    if may_send:
        work.send(Notify(user_id=account_id, cause_id=reset.id, template=Template.PASSWORD_RESET, about=reset.id))


async def verify_secret(secret: str, work: UnitOfWork[UserSettings]) -> PasswordReset:
    """The open reset that a secret belongs to."""
    id = _reset_id_of(secret, work.settings)
    reset = await queries.open_reset_by_id(work, id) if id else None
    if reset is None:
        raise ResetSecretRefused(field="secret")
    return reset


async def redeem(reset: PasswordReset, work: UnitOfWork[UserSettings]) -> Account:
    """The locked account of an open reset. Of several concurrent requests, the first one wins."""
    accounts = await work.lock(Account, id=[reset.account_id])
    still = await work.lock(PasswordReset, id=[reset.id])
    if not accounts or not still or still[0].used:
        raise ResetSecretRefused(field="secret")
    return accounts[0]


async def change_password(account: Account, password_hash: str, work: UnitOfWork[UserSettings]) -> None:
    """Set the password of a locked account; end its sessions and resets. Access tokens stay valid until they expire."""
    account.password_hash = password_hash
    for token in await work.lock(RefreshToken, account_id=[account.id]):
        work.remove(token)
    for reset in await work.lock(PasswordReset, account_id=[account.id]):
        reset.used = True  # kept, because it counts among the mails that were sent
    await login_throttle.clear_failures(account.email, work)


def secret_of_reset(id: UUID, settings: UserSettings) -> str:
    """The id of the reset, followed by what only this service can derive from it."""
    return base64.urlsafe_b64encode(id.bytes + settings.derive_secret("password reset", id.bytes)).decode()


def _reset_id_of(secret: str, settings: UserSettings) -> UUID | None:
    """The reset of a secret, or None if this service did not make the secret."""
    try:
        id = UUID(bytes=base64.urlsafe_b64decode(secret)[:16])
    except ValueError:
        return None
    return id if hmac.compare_digest(secret_of_reset(id, settings).encode(), secret.encode()) else None
