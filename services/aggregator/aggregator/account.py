"""HTTP in: accounts, their addresses, passwords and erasure, done by the user service in the caller's name."""

from uuid import UUID

from fastapi import APIRouter, Response

from aggregator.responses import NO_STORE
from chassis.web import Caller, Runtime, raises, response_header
from contracts import user, user_api

router = APIRouter(prefix="/api/v1", tags=["Account"])


@router.post(
    "/accounts",
    status_code=201,
    responses=response_header("Location", "The account.", 201) | raises(*user_api.register_account.problems),
)
async def register_account(body: user.RegisterAccount, runtime: Runtime, response: Response) -> user.AccountView:
    """Register an account

    A mail address can have one account (409 `email_taken`). A welcome mail is sent to it. The response contains no
    tokens: sign in next.
    """
    response.headers["location"] = "/api/v1/me"
    return await runtime.call(user_api.register_account, body=body)


@router.get("/me", responses=raises(*user_api.get_own_account.problems))
async def get_account(runtime: Runtime, _: Caller) -> user.AccountView:
    """Get the caller's account"""
    return await runtime.call(user_api.get_own_account)


@router.get("/me/addresses")
async def list_addresses(runtime: Runtime, _: Caller) -> list[user.AddressView]:
    """List the caller's addresses"""
    return await runtime.call(user_api.list_own_addresses)


@router.post(
    "/me/addresses",
    status_code=201,
    responses=response_header("Location", "The addresses of the account.", 201)
    | raises(*user_api.add_address.problems),
)
async def add_address(body: user.AddAddress, runtime: Runtime, _: Caller, response: Response) -> user.AddressView:
    """Add an address to the caller's account

    Quotes and orders refer to it by its `id`.
    """
    response.headers["location"] = "/api/v1/me/addresses"
    return await runtime.call(user_api.add_address, body=body)


@router.put("/me/password", responses=NO_STORE | raises(*user_api.change_password.problems))
async def change_password(
    body: user.ChangePassword, runtime: Runtime, _: Caller, response: Response
) -> user.TokensView:
    """Change the caller's password

    Needs the current password (422 `wrong_password`). Every session of the account ends, and a new one begins: use the
    tokens of the response from now on.
    """
    response.headers["cache-control"] = "no-store"
    return await runtime.call(user_api.change_password, body=body)


@router.post("/password-resets", status_code=202, response_class=Response)
async def request_password_reset(body: user.RequestPasswordReset, runtime: Runtime) -> None:
    """Request a mail for a password reset

    The mail contains a link with a secret that is valid for a limited time. The response is the same whether or not
    an account has this mail address, so it does not reveal who has one.
    """
    await runtime.call(user_api.request_password_reset, body=body)


@router.post("/password-resets/uses", responses=NO_STORE | raises(*user_api.reset_password.problems))
async def reset_password(body: user.ResetPassword, runtime: Runtime, response: Response) -> user.TokensView:
    """Set a new password with the secret from a mail

    A secret can be used once (422 `reset_secret_refused` otherwise). Every session of the account ends, and a new one
    begins with the tokens of the response.
    """
    response.headers["cache-control"] = "no-store"
    return await runtime.call(user_api.reset_password, body=body)


@router.post(
    "/me/erasure",
    status_code=202,
    responses=response_header("Location", "The progress of the erasure.", 202)
    | raises(*user_api.erase_account.problems),
)
async def erase_account(body: user.EraseAccount, runtime: Runtime, _: Caller, response: Response) -> user.ErasureView:
    """Erase the caller's account

    Every service deletes the personal data that it holds. This cannot be undone, and needs the password once more.
    Keep the `id` of the response: it is the only way to follow the progress, since the account
    no longer exists. Accounts with another role than customer are refused (409 `has_other_roles`).
    """
    erasure = await runtime.call(user_api.erase_account, body=body)
    response.headers["location"] = f"/api/v1/erasures/{erasure.id}"
    return erasure


@router.get("/erasures/{erasure_id}", responses=raises(*user_api.get_erasure.problems))
async def get_erasure(erasure_id: UUID, runtime: Runtime) -> user.ErasureView:
    """Get the progress of an erasure

    No token is needed, because the account that could have one is gone; the id is known to its former owner only. The
    erasure is complete when `waiting_for` is empty.
    """
    return await runtime.call(user_api.get_erasure, erasure_id=erasure_id)
