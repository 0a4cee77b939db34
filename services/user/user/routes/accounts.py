"""HTTP in: accounts and their roles, addresses, and how to write to somebody."""

from uuid import UUID

from chassis.tables import new_id
from chassis.web import Caller, Operator, Router, ServiceCaller, Work
from contracts.notification import Notify, Template
from contracts.user import AccountView, AddAddress, AddressView, ContactView, RegisterAccount, Role, UserRegistered
from user import passwords, queries
from user.errors import AccountNotFound, AddressNotFound, EmailTaken
from user.models import Account, Address

router = Router()


@router.post("/accounts", status_code=201)
async def register_account(body: RegisterAccount, work: Work) -> AccountView:
    password_hash = await passwords.hash_password(body.password)
    await work.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", body.email)  # two may register it now
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


@router.put("/accounts/{email}/roles/{role}")
async def grant_role(email: str, role: Role, work: Work, _: Operator) -> AccountView:
    account = await _lock_account(work, email=email.lower())
    account.roles = sorted({*account.roles, role})
    return AccountView.model_validate(account, from_attributes=True)


@router.delete("/accounts/{email}/roles/{role}")
async def revoke_role(email: str, role: Role, work: Work, _: Operator) -> AccountView:
    """Holds for access tokens issued from now on."""
    account = await _lock_account(work, email=email.lower())
    account.roles = sorted({*account.roles} - {role})
    return AccountView.model_validate(account, from_attributes=True)


@router.get("/accounts/{account_id}/contact")
async def get_contact(account_id: UUID, work: Work, _: ServiceCaller) -> ContactView:
    account = await queries.account_by_id(work, account_id)
    return ContactView.model_validate(account, from_attributes=True)


@router.get("/me")
async def get_own_account(work: Work, caller: Caller) -> AccountView:
    account = await queries.account_by_id(work, caller.id)
    return AccountView.model_validate(account, from_attributes=True)


@router.get("/me/addresses")
async def list_own_addresses(work: Work, caller: Caller) -> list[AddressView]:
    addresses = await queries.addresses_of_account(work, caller.id)
    return [AddressView.model_validate(address, from_attributes=True) for address in addresses]


@router.post("/me/addresses", status_code=201)
async def add_address(body: AddAddress, work: Work, caller: Caller) -> AddressView:
    account = await _lock_account(work, id=caller.id)  # so that it is not erased at this moment
    address = work.add(Address.new(id=new_id(), account_id=account.id, **body.model_dump()))
    return AddressView.model_validate(address, from_attributes=True)


@router.get("/addresses/{address_id}")
async def get_address(address_id: UUID, work: Work, _: ServiceCaller, customer_id: UUID | None = None) -> AddressView:
    """With `customer_id` only if it is that customer's."""
    found = await queries.address_by_id(work, address_id)
    if customer_id not in (None, found.account_id):
        raise AddressNotFound()
    return AddressView.model_validate(found, from_attributes=True)


async def _lock_account(work: Work, **by: str | UUID) -> Account:
    ((column, value),) = by.items()
    found = await work.lock(Account, **{column: [value]})
    if not found:
        raise AccountNotFound()
    return found[0]
