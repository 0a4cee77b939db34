"""HTTP in: tokens, from sign-in to sign-out, and the keys that verify them."""

from typing import Annotated

from fastapi import Body, Response

from chassis.calls import JWKS_CACHE_SECONDS
from chassis.errors import Conflict, Problem
from chassis.web import Operator, Router, Work, response_to
from contracts.user import RefreshTokens, RevokeToken, SignIn, SigningKeyView, TokensView
from user import keys, login_throttle, tokens
from user.errors import RefreshTokenRefused, SignInOverloaded, TooManyWrongPasswords, WrongCredentials
from user.routes.responses import cache_control, raises_with_retry

router = Router(tags=["Session"])
JWKS_CACHING = f"public, max-age={JWKS_CACHE_SECONDS}"
REFUSALS = (WrongCredentials, RefreshTokenRefused, Conflict, TooManyWrongPasswords, SignInOverloaded)


@router.post("/tokens", response_model=TokensView, responses=cache_control("no-store") | raises_with_retry(*REFUSALS))
async def issue_tokens(
    body: Annotated[SignIn | RefreshTokens, Body(discriminator="grant_type")], work: Work, response: Response
) -> TokensView | Response:
    """Sign in, or refresh the tokens of a session

    A sign-in starts a session. A refresh token can be used once and gives the next pair of tokens: a second use ends
    the session, because one of its two users must have stolen it.
    """
    response.headers["cache-control"] = "no-store"
    # Refusals are returned and not raised: the end of a session and the count of a wrong password are to be committed.
    if isinstance(body, RefreshTokens):
        return await tokens.refresh_session(body.refresh_token, work) or response_to(RefreshTokenRefused())
    account = await login_throttle.verify_password(body.email, body.password, work)
    return response_to(account) if isinstance(account, Problem) else await tokens.start_session(account, work)


@router.post("/tokens/revocation", status_code=204)
async def revoke_token(body: RevokeToken, work: Work) -> None:
    """Sign out

    Ends the session of a refresh token, used or not; an unknown one is no error. The access token of the session
    expires within minutes.
    """
    await tokens.end_session(body.token, work)


@router.get("/.well-known/jwks.json", responses=cache_control(JWKS_CACHING))
async def list_signing_keys(work: Work, response: Response) -> dict[str, list[dict[str, object]]]:
    """The public keys that verify access tokens

    A JWK Set, RFC 7517. A key is published before it signs and until its last token has expired.
    """
    response.headers["cache-control"] = JWKS_CACHING
    return {"keys": [keys.public_jwk(key) for key in await keys.published_keys(work)]}


@router.post("/signing-keys", status_code=201)
async def rotate_signing_key(work: Work, _: Operator) -> SigningKeyView:
    """Rotate the signing key

    Answers the key that signs next, from `signs_from` on. Until then a repeated request answers the same key.
    """
    return SigningKeyView.model_validate(await keys.rotate_current_key(work), from_attributes=True)
