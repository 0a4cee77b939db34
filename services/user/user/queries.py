"""Every SELECT of the user service, by name."""

from uuid import UUID

from sqlalchemy import Integer, func
from sqlmodel import bindparam, col, select

from chassis.database import UnitOfWork
from contracts.user_api import AccountNotFound, AddressNotFound, ErasureNotFound
from user.models import Account, Address, Erasure, LoginThrottle, PasswordReset, RefreshToken, SigningKey

_account = select(Account).where(Account.id == bindparam("id"))
_account_by_email = select(Account).where(Account.email == bindparam("email"))
_address = select(Address).where(Address.id == bindparam("id"))
_addresses = select(Address).where(Address.account_id == bindparam("account_id")).order_by(col(Address.id))
_refresh_token = select(RefreshToken).where(RefreshToken.digest == bindparam("digest"))
_signing_keys = select(SigningKey).order_by(col(SigningKey.signs_from).desc(), SigningKey.kid)
_login_throttle = select(LoginThrottle).where(
    LoginThrottle.email_digest == bindparam("digest"), col(LoginThrottle.window_ends_at) > func.now()
)
_mailed_resets = select(func.count()).where(
    PasswordReset.account_id == bindparam("account_id"), col(PasswordReset.expires_at) > func.now()
)
_open_reset = select(PasswordReset).where(
    PasswordReset.id == bindparam("id"),
    col(PasswordReset.account_id).is_not(None),
    col(PasswordReset.used).is_(False),
    col(PasswordReset.expires_at) > func.now(),
)
_erasure = select(Erasure).where(Erasure.id == bindparam("id"))
_erasure_of_user = select(Erasure).where(Erasure.user_id == bindparam("user_id"))
_open_erasures = (
    select(Erasure)
    .where(col(Erasure.completed_at).is_(None))
    .order_by(col(Erasure.requested_at))
    .limit(bindparam("limit", type_=Integer))
)


async def account_by_id(work: UnitOfWork, id: UUID) -> Account:
    account = await work.one(_account, id=id)
    if account is None:
        raise AccountNotFound()
    return account


async def account_by_email(work: UnitOfWork, email: str) -> Account | None:
    """Not a problem when there is none: sign-in and registration ask whether there is one."""
    account = await work.one(_account_by_email, email=email)
    return account


async def address_by_id(work: UnitOfWork, id: UUID) -> Address:
    address = await work.one(_address, id=id)
    if address is None:
        raise AddressNotFound()
    return address


async def addresses_of_account(work: UnitOfWork, account_id: UUID) -> list[Address]:
    return await work.fetch(_addresses, account_id=account_id)


async def refresh_token_by_digest(work: UnitOfWork, digest: str) -> RefreshToken | None:
    token = await work.one(_refresh_token, digest=digest)
    return token


async def signing_keys(work: UnitOfWork) -> list[SigningKey]:
    """The newest first."""
    return await work.fetch(_signing_keys)


async def login_throttle(work: UnitOfWork, digest: str) -> LoginThrottle | None:
    """The count of wrong passwords, if its window has not ended."""
    found = await work.one(_login_throttle, digest=digest)
    return found


async def mailed_resets_of_account(work: UnitOfWork, account_id: UUID) -> int:
    """The number of resets of an account that have not expired yet."""
    return await work.one(_mailed_resets, account_id=account_id) or 0


async def open_reset_by_id(work: UnitOfWork, id: UUID) -> PasswordReset | None:
    """The reset, unless it was used or has expired."""
    reset = await work.one(_open_reset, id=id)
    return reset


async def erasure_by_id(work: UnitOfWork, id: UUID) -> Erasure:
    erasure = await work.one(_erasure, id=id)
    if erasure is None:
        raise ErasureNotFound()
    return erasure


async def erasure_of_user(work: UnitOfWork, user_id: UUID) -> Erasure | None:
    erasure = await work.one(_erasure_of_user, user_id=user_id)
    return erasure


async def open_erasures(work: UnitOfWork, limit: int) -> list[Erasure]:
    """Erasures that wait for reports, the oldest first."""
    return await work.fetch(_open_erasures, limit=limit)
