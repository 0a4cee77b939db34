"""HTTP in: accounts and their roles, tokens and the keys to check them with, addresses."""

from typing import Annotated, cast
from uuid import UUID

from fastapi import Body, Response

from chassis.tables import new_id
from chassis.web import Caller, Operator, Router, Runtime, ServiceCaller, Work
from contracts.user import (
    AccountView,
    AddAddress,
    AddressView,
    RefreshTokens,
    RegisterAccount,
    Role,
    SignIn,
    TokensView,
    UserRegistered,
)
from user import passwords, queries, tokens
from user.config import UserSettings
from user.errors import AccountNotFound, AddressNotFound, EmailTaken, RefreshTokenRefused, WrongCredentials
from user.models import Account, Address

JWKS_SECONDS = 300

router = Router()


@router.post("/accounts", status_code=201)
async def register_account(body: RegisterAccount, work: Work) -> AccountView:
    async with passwords.turn():
        password_hash = await passwords.hashed(body.password)
    await work.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", body.email)  # two may register it now
    if await queries.account_of(work, body.email) is not None:
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
    work.send(UserRegistered(user_id=account.id))
    return AccountView.model_validate(account, from_attributes=True)


@router.put("/accounts/{email}/roles/{role}")
async def grant_role(email: str, role: Role, work: Work, _: Operator) -> AccountView:
    account = await _locked(email, work)
    account.roles = sorted({*account.roles, role})
    return AccountView.model_validate(account, from_attributes=True)


@router.delete("/accounts/{email}/roles/{role}")
async def revoke_role(email: str, role: Role, work: Work, _: Operator) -> AccountView:
    """Holds for access tokens issued from now on."""
    account = await _locked(email, work)
    account.roles = sorted({*account.roles} - {role})
    return AccountView.model_validate(account, from_attributes=True)


async def _locked(email: str, work: Work) -> Account:
    found = await work.lock(Account, email=[email.lower()])
    if not found:
        raise AccountNotFound()
    return found[0]


@router.post("/tokens", response_model=TokensView)
async def issue_tokens(
    body: Annotated[SignIn | RefreshTokens, Body(discriminator="grant_type")],
    work: Work,
    runtime: Runtime,
    response: Response,
) -> TokensView | Response:
    settings = cast(UserSettings, runtime.settings)
    response.headers["cache-control"] = "no-store"
    if isinstance(body, RefreshTokens):
        refreshed = await tokens.refresh(body.refresh_token, work, settings)
        # Returned, not raised: the end of a session is to be committed.
        return refreshed or RefreshTokenRefused().response()
    async with passwords.turn():
        account = await queries.account_of(work, body.email)
        matched = await passwords.matches(body.password, account.password_hash if account else None)
    if account is None or not matched:
        raise WrongCredentials()
    return await tokens.sign_in(account, work, settings)


@router.get("/.well-known/jwks.json")
async def keys(work: Work, response: Response) -> dict[str, list[dict[str, object]]]:
    response.headers["cache-control"] = f"public, max-age={JWKS_SECONDS}"
    return {"keys": [tokens.public(key) for key in await tokens.signing_keys(work)]}


@router.get("/me")
async def me(work: Work, caller: Caller) -> AccountView:
    account = await queries.account_by_id(work, caller.id)
    return AccountView.model_validate(account, from_attributes=True)


@router.get("/me/addresses")
async def my_addresses(work: Work, caller: Caller) -> list[AddressView]:
    addresses = await queries.addresses_of_account(work, caller.id)
    return [AddressView.model_validate(address, from_attributes=True) for address in addresses]


@router.post("/me/addresses", status_code=201)
async def add_address(body: AddAddress, work: Work, caller: Caller) -> AddressView:
    account = await queries.account_by_id(work, caller.id)
    address = work.add(Address.new(id=new_id(), account_id=account.id, **body.model_dump()))
    return AddressView.model_validate(address, from_attributes=True)


@router.get("/addresses/{address_id}")
async def address(address_id: UUID, work: Work, _: ServiceCaller, customer_id: UUID | None = None) -> AddressView:
    """With `customer_id` only if it is that customer's."""
    found = await queries.address_by_id(work, address_id)
    if customer_id not in (None, found.account_id):
        raise AddressNotFound()
    return AddressView.model_validate(found, from_attributes=True)
