"""Every SELECT of the user service, by name."""

from uuid import UUID

from sqlmodel import bindparam, col, select

from chassis.work import UnitOfWork
from user.errors import AccountNotFound, AddressNotFound
from user.models import Account, Address, RefreshToken, SigningKey

_account = select(Account).where(Account.id == bindparam("id"))
_account_by_email = select(Account).where(Account.email == bindparam("email"))
_address = select(Address).where(Address.id == bindparam("id"))
_addresses = select(Address).where(Address.account_id == bindparam("account_id")).order_by(col(Address.id))
_refresh_token = select(RefreshToken).where(RefreshToken.digest == bindparam("digest"))
_signing_keys = select(SigningKey).order_by(col(SigningKey.created_at).desc(), SigningKey.kid)


async def account_by_id(work: UnitOfWork, id: UUID) -> Account:
    account = await work.one(_account, id=id)
    if account is None:
        raise AccountNotFound()
    return account


async def account_of(work: UnitOfWork, email: str) -> Account | None:
    """None is an answer here: whoever signs in or registers asks whether there is one."""
    account = await work.one(_account_by_email, email=email)
    return account


async def address_by_id(work: UnitOfWork, id: UUID) -> Address:
    address = await work.one(_address, id=id)
    if address is None:
        raise AddressNotFound()
    return address


async def addresses_of_account(work: UnitOfWork, account_id: UUID) -> list[Address]:
    return await work.fetch(_addresses, account_id=account_id)


async def refresh_token(work: UnitOfWork, digest: str) -> RefreshToken | None:
    token = await work.one(_refresh_token, digest=digest)
    return token


async def signing_keys(work: UnitOfWork) -> list[SigningKey]:
    """The newest first."""
    return await work.fetch(_signing_keys)
