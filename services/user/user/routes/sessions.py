"""HTTP in: tokens, from sign-in to sign-out, and the keys that verify them."""

from typing import Annotated

from fastapi import Body, Response

from chassis.calls import JWKS_CACHE_SECONDS
from chassis.web import Operator, Router, Work, raises, response_header
from contracts import user_api
from contracts.user import RefreshTokens, RevokeToken, SignIn, SigningKeyView, TokensView
from user import keys, login_throttle, tokens
from user.config import UserSettings

router = Router(tags=["Session"])
JWKS_CACHING = f"public, max-age={JWKS_CACHE_SECONDS}"


@router.post(
    "/tokens",
    responses=response_header("Cache-Control", "`no-store`") | raises(*user_api.issue_tokens.problems),
)
async def issue_tokens(
    body: Annotated[SignIn | RefreshTokens, Body(discriminator="grant_type")],
    work: Work[UserSettings],
    response: Response,
) -> TokensView:
    """Sign in, or refresh the tokens of a session

    A sign-in starts a session. A refresh token can be used once and gives the next pair of tokens: a second use ends
    the session, because one of its two users must have stolen it.
    """
    response.headers["cache-control"] = "no-store"
    if isinstance(body, RefreshTokens):
        return await tokens.refresh_session(body.refresh_token, work)
    return await tokens.start_session(await login_throttle.verify_password(body.email, body.password, work), work)


@router.post("/tokens/revocation", status_code=204)
async def revoke_token(body: RevokeToken, work: Work[UserSettings]) -> None:
    """Sign out

    Ends the session of a refresh token, used or not; an unknown one is no error. The access token of the session
    expires within minutes.
    """
    await tokens.end_session(body.token, work)


@router.get("/.well-known/jwks.json", responses=response_header("Cache-Control", f"`{JWKS_CACHING}`"))
async def list_signing_keys(work: Work[UserSettings], response: Response) -> dict[str, list[dict[str, object]]]:
    """The public keys that verify access tokens

    A JWK Set, RFC 7517. A key is published before it signs and until its last token has expired.
    """
    response.headers["cache-control"] = JWKS_CACHING
    return {"keys": [keys.public_jwk(key) for key in await keys.published_keys(work)]}


@router.post("/signing-keys", status_code=201)
async def rotate_signing_key(work: Work[UserSettings], _: Operator) -> SigningKeyView:
    """Rotate the signing key

    Answers the key that signs next, from `signs_from` on. Until then a repeated request answers the same key.
    """
    return SigningKeyView.model_validate(await keys.rotate_current_key(work), from_attributes=True)
