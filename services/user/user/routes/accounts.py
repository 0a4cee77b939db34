"""HTTP in: accounts and their roles, addresses, and how to write to a person."""

from typing import Annotated
from uuid import UUID

from fastapi import Query

from chassis.database import new_id
from chassis.web import Caller, Operator, Router, ServiceCaller, Work, raises
from contracts.notification import Notify, Template
from contracts.user import (
    AccountRole,
    AccountView,
    AddAddress,
    AddressView,
    ContactView,
    RegisterAccount,
    UserRegistered,
)
from contracts.user_api import AccountNotFound, AddressNotFound, EmailTaken, SignInOverloaded
from user import passwords, queries
from user.models import Account, Address

router = Router(tags=["Account"])


@router.post("/accounts", status_code=201, responses=raises(EmailTaken, SignInOverloaded))
async def register_account(body: RegisterAccount, work: Work) -> AccountView:
    """Open an account

    The account has the role `customer`, and a welcome mail is sent. Sign in next, for tokens.
    """
    password_hash = await passwords.hash_password(body.password)
    # Two requests may register the same address at the same time: the second one waits and then finds the account.
    await work.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", body.email)
    if await queries.account_by_email(work, body.email) is not None:
        raise EmailTaken(field="email")
    account = Account.new(
        id=new_id(),
        email=body.email,
        name=body.name,
        password_hash=password_hash,
        roles=["customer"],
        registered_at=work.now,
    )
    work.add(account)
    work.send(
        UserRegistered(user_id=account.id),
        Notify(user_id=account.id, cause_id=account.id, template=Template.WELCOME),
    )
    return AccountView.model_validate(account, from_attributes=True)


@router.post("/role-grants", responses=raises(AccountNotFound))
async def grant_role(body: AccountRole, work: Work, _: Operator) -> AccountView:
    """Grant a role

    The next access token of the account carries the role: sign in again, or refresh the tokens. The mail address is not
    part of a path, since paths are logged.
    """
    account = await work.lock_one(Account, AccountNotFound, email=body.email)
    account.roles = sorted({*account.roles, body.role})
    return AccountView.model_validate(account, from_attributes=True)


@router.post("/role-revocations", responses=raises(AccountNotFound))
async def revoke_role(body: AccountRole, work: Work, _: Operator) -> AccountView:
    """Revoke a role

    Access tokens that were issued before carry the role until they expire.
    """
    account = await work.lock_one(Account, AccountNotFound, email=body.email)
    account.roles = sorted({*account.roles} - {body.role})
    return AccountView.model_validate(account, from_attributes=True)


@router.get("/accounts/{account_id}/contact", responses=raises(AccountNotFound))
async def get_contact(account_id: UUID, work: Work, _: ServiceCaller) -> ContactView:
    """The mail address and the name of a person

    For services that write to the person. They read it for each mail, so that a copy cannot outlive an erasure.
    """
    account = await queries.account_by_id(work, account_id)
    return ContactView.model_validate(account, from_attributes=True)


@router.get("/me", responses=raises(AccountNotFound))
async def get_own_account(work: Work, caller: Caller) -> AccountView:
    """The caller's account

    With its roles, as the next access token will carry them.
    """
    account = await queries.account_by_id(work, caller.id)
    return AccountView.model_validate(account, from_attributes=True)


@router.get("/me/addresses")
async def list_own_addresses(work: Work, caller: Caller) -> list[AddressView]:
    """The caller's addresses

    The oldest first.
    """
    addresses = await queries.addresses_of_account(work, caller.id)
    return [AddressView.model_validate(address, from_attributes=True) for address in addresses]


@router.post("/me/addresses", status_code=201, responses=raises(AccountNotFound))
async def add_address(body: AddAddress, work: Work, caller: Caller) -> AddressView:
    """Add an address

    An address never changes: add another one instead. Its id goes into quotes and checkouts.
    """
    account = await work.lock_one(
        Account, AccountNotFound, id=caller.id
    )  # an erasure at the same time waits, and removes the address
    address = work.add(Address.new(id=new_id(), account_id=account.id, **body.model_dump()))
    return AddressView.model_validate(address, from_attributes=True)


@router.get("/addresses/{address_id}", responses=raises(AddressNotFound))
async def get_address(
    address_id: UUID,
    work: Work,
    _: ServiceCaller,
    customer_id: Annotated[UUID | None, Query(description="Only find an address of this account.")] = None,
) -> AddressView:
    """An address

    For services that send something there. They read it when they need it, so that a copy cannot outlive an erasure.
    """
    found = await queries.address_by_id(work, address_id)
    if customer_id not in (None, found.account_id):
        raise AddressNotFound()
    return AddressView.model_validate(found, from_attributes=True)
