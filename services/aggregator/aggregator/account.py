"""HTTP in: what belongs to somebody's account, done by user and notification in the caller's name."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Path, Response

from chassis.web import Caller, Runtime
from contracts import notification, user
from contracts.notification import PreferencesView, SetPreferences, Unsubscribe
from contracts.user import (
    AccountView,
    AddAddress,
    AddressView,
    AskPasswordReset,
    ChangePassword,
    EraseAccount,
    ErasureView,
    RefreshTokens,
    RegisterAccount,
    ResetPassword,
    RevokeToken,
    SignIn,
    TokensView,
)

router = APIRouter(prefix="/api/v1")


@router.post("/accounts", status_code=201)
async def register_account(body: RegisterAccount, runtime: Runtime) -> AccountView:
    return await runtime.client(user.api).call("POST", "/accounts", json=body.model_dump(), into=AccountView)


@router.post("/tokens")
async def issue_tokens(
    body: Annotated[SignIn | RefreshTokens, Body(discriminator="grant_type")], runtime: Runtime, response: Response
) -> TokensView:
    """Sign in, or go on with a refresh token."""
    response.headers["cache-control"] = "no-store"
    return await runtime.client(user.api).call("POST", "/tokens", json=body.model_dump(), into=TokensView)


@router.post("/tokens/revocation", status_code=204)
async def revoke_token(body: RevokeToken, runtime: Runtime) -> None:
    await runtime.client(user.api).call("POST", "/tokens/revocation", json=body.model_dump())


@router.get("/me")
async def get_account(runtime: Runtime, _: Caller) -> AccountView:
    return await runtime.client(user.api).get("/me", into=AccountView)


@router.get("/me/addresses")
async def list_addresses(runtime: Runtime, _: Caller) -> list[AddressView]:
    return await runtime.client(user.api).get("/me/addresses", into=list[AddressView])


@router.post("/me/addresses", status_code=201)
async def add_address(body: AddAddress, runtime: Runtime, _: Caller) -> AddressView:
    return await runtime.client(user.api).call("POST", "/me/addresses", json=body.model_dump(), into=AddressView)


@router.put("/me/password")
async def change_password(body: ChangePassword, runtime: Runtime, _: Caller, response: Response) -> TokensView:
    """Every other session ends."""
    response.headers["cache-control"] = "no-store"
    return await runtime.client(user.api).call("PUT", "/me/password", json=body.model_dump(), into=TokensView)


@router.post("/password-resets", status_code=202, response_class=Response)
async def request_password_reset(body: AskPasswordReset, runtime: Runtime) -> None:
    """Answered alike whether there is such an account or not."""
    await runtime.client(user.api).call("POST", "/password-resets", json=body.model_dump())


@router.post("/password-resets/uses")
async def reset_password(body: ResetPassword, runtime: Runtime, response: Response) -> TokensView:
    """With the secret of the mail. Every session ends, and one begins."""
    response.headers["cache-control"] = "no-store"
    path = "/password-resets/uses"
    return await runtime.client(user.api).call("POST", path, json=body.model_dump(), into=TokensView)


@router.post("/me/erasure", status_code=202)
async def erase_account(body: EraseAccount, runtime: Runtime, _: Caller) -> ErasureView:
    """Everything personal goes, everywhere. How far it is can be asked for by its id."""
    return await runtime.client(user.api).call("POST", "/me/erasure", json=body.model_dump(), into=ErasureView)


@router.get("/erasures/{erasure_id}")
async def get_erasure(erasure_id: UUID, runtime: Runtime) -> ErasureView:
    """Without a sign-in, which is gone: whoever knows the id may ask."""
    return await runtime.client(user.api).get(f"/erasures/{erasure_id}", into=ErasureView)


@router.get("/me/preferences")
async def get_preferences(runtime: Runtime, _: Caller) -> PreferencesView:
    return await runtime.client(notification.api).get("/me/preferences", into=PreferencesView)


@router.put("/me/preferences")
async def set_preferences(body: SetPreferences, runtime: Runtime, _: Caller) -> PreferencesView:
    client = runtime.client(notification.api)
    return await client.call("PUT", "/me/preferences", json=body.model_dump(), into=PreferencesView)


@router.post("/unsubscriptions", status_code=204)
async def unsubscribe_by_token(body: Unsubscribe, runtime: Runtime) -> None:
    """With the token of a mail, from a page."""
    await runtime.client(notification.api).call("POST", "/unsubscriptions", json=body.model_dump())


@router.post("/unsubscriptions/{token}", status_code=204)
async def unsubscribe_one_click(token: Annotated[str, Path(max_length=1000)], runtime: Runtime) -> None:
    """For mail programs, which post a form to the address in the mail's header: RFC 8058."""
    await runtime.client(notification.api).call("POST", "/unsubscriptions", json={"token": token})
