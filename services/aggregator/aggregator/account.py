"""HTTP in: accounts, their addresses, passwords and erasure, done by the user service in the caller's name."""

from uuid import UUID

from fastapi import APIRouter, Response

from aggregator.responses import NO_STORE, header
from chassis.web import Caller, Runtime
from contracts import user

router = APIRouter(prefix="/api/v1", tags=["Account"])


@router.post("/accounts", status_code=201, responses={201: header("Location", "The account.")})
async def register_account(body: user.RegisterAccount, runtime: Runtime, response: Response) -> user.AccountView:
    """Register an account

    A mail address can have one account (409 `email_taken`). A welcome mail is sent to it. The response contains no
    tokens: sign in next.
    """
    response.headers["location"] = "/api/v1/me"
    return await runtime.client(user.api).call("POST", "/accounts", json=body.model_dump(), into=user.AccountView)


@router.get("/me")
async def get_account(runtime: Runtime, _: Caller) -> user.AccountView:
    """Get the caller's account"""
    return await runtime.client(user.api).get("/me", into=user.AccountView)


@router.get("/me/addresses")
async def list_addresses(runtime: Runtime, _: Caller) -> list[user.AddressView]:
    """List the caller's addresses"""
    return await runtime.client(user.api).get("/me/addresses", into=list[user.AddressView])


@router.post("/me/addresses", status_code=201, responses={201: header("Location", "The addresses of the account.")})
async def add_address(body: user.AddAddress, runtime: Runtime, _: Caller, response: Response) -> user.AddressView:
    """Add an address to the caller's account

    Quotes and orders refer to it by its `id`.
    """
    response.headers["location"] = "/api/v1/me/addresses"
    return await runtime.client(user.api).call("POST", "/me/addresses", json=body.model_dump(), into=user.AddressView)


@router.put("/me/password", responses={200: NO_STORE})
async def change_password(
    body: user.ChangePassword, runtime: Runtime, _: Caller, response: Response
) -> user.TokensView:
    """Change the caller's password

    Needs the current password (422 `wrong_password`). Every session of the account ends, and a new one begins: use the
    tokens of the response from now on.
    """
    response.headers["cache-control"] = "no-store"
    return await runtime.client(user.api).call("PUT", "/me/password", json=body.model_dump(), into=user.TokensView)


@router.post("/password-resets", status_code=202, response_class=Response)
async def request_password_reset(body: user.AskPasswordReset, runtime: Runtime) -> None:
    """Request a mail for a password reset

    The mail contains a link with a secret that is valid for a limited time. The response is the same whether or not
    an account has this mail address, so it does not reveal who has one.
    """
    await runtime.client(user.api).call("POST", "/password-resets", json=body.model_dump())


@router.post("/password-resets/uses", responses={200: NO_STORE})
async def reset_password(body: user.ResetPassword, runtime: Runtime, response: Response) -> user.TokensView:
    """Set a new password with the secret from a mail

    A secret can be used once (422 `reset_secret_refused` otherwise). Every session of the account ends, and a new one
    begins with the tokens of the response.
    """
    response.headers["cache-control"] = "no-store"
    path = "/password-resets/uses"
    return await runtime.client(user.api).call("POST", path, json=body.model_dump(), into=user.TokensView)


@router.post("/me/erasure", status_code=202, responses={202: header("Location", "The progress of the erasure.")})
async def erase_account(body: user.EraseAccount, runtime: Runtime, _: Caller, response: Response) -> user.ErasureView:
    """Erase the caller's account

    Every service deletes the personal data that it holds. This cannot be undone, and needs the password once more.
    Keep the `id` of the response: it is the only way to follow the progress, since nobody can sign in to the account
    any more. Accounts with another role than customer are refused (409 `has_other_roles`).
    """
    erasure = await runtime.client(user.api).call("POST", "/me/erasure", json=body.model_dump(), into=user.ErasureView)
    response.headers["location"] = f"/api/v1/erasures/{erasure.id}"
    return erasure


@router.get("/erasures/{erasure_id}")
async def get_erasure(erasure_id: UUID, runtime: Runtime) -> user.ErasureView:
    """Get the progress of an erasure

    No token is needed, because the account that could have one is gone; the id is known to its former owner only. The
    erasure is complete when `waiting_for` is empty.
    """
    return await runtime.client(user.api).get(f"/erasures/{erasure_id}", into=user.ErasureView)
