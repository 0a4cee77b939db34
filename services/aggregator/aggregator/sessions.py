"""HTTP in: signing in, staying signed in and signing out. The user service does it."""

from typing import Annotated

from fastapi import APIRouter, Body, Response

from aggregator.responses import NO_STORE
from chassis.web import Runtime, raises
from contracts import user, user_api

router = APIRouter(prefix="/api/v1", tags=["Sessions"])


@router.post("/tokens", responses=NO_STORE | raises(*user_api.issue_tokens.problems))
async def issue_tokens(
    body: Annotated[user.SignIn | user.RefreshTokens, Body(discriminator="grant_type")],
    runtime: Runtime,
    response: Response,
) -> user.TokensView:
    """Sign in, or refresh the tokens of a session

    `grant_type` *password* begins a session, *refresh_token* continues it. Send the access token with each request:
    `Authorization: Bearer …`. It expires after `expires_in` seconds; get the next one with the refresh token.

    A refresh token can be used once: keep the new one from the response. A second use ends the session, since one of
    the two users must have stolen the token (RFC 9700, 4.14.2). After too many wrong passwords for a mail address the
    response is 429 with `Retry-After`.
    """
    response.headers["cache-control"] = "no-store"
    return await runtime.call(user_api.issue_tokens, body=body)


@router.post("/tokens/revocation", status_code=204)
async def revoke_token(body: user.RevokeToken, runtime: Runtime) -> None:
    """Sign out

    Ends the session of a refresh token. The response is the same for a token that is unknown or expired. Access tokens
    of the session remain valid until they expire, which takes minutes: discard them.
    """
    await runtime.call(user_api.revoke_token, body=body)
