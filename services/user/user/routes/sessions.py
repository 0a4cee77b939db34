"""HTTP in: tokens, from sign-in to sign-out, and the keys to check them with."""

from typing import Annotated

from fastapi import Body, Response

from chassis.auth import KEYS_SECONDS
from chassis.errors import Problem
from chassis.web import Operator, Router, Work
from contracts.user import RefreshTokens, RevokeToken, SignIn, SigningKeyView, TokensView
from user import keys, login_throttle, tokens
from user.errors import RefreshTokenRefused

router = Router()


@router.post("/tokens", response_model=TokensView)
async def issue_tokens(
    body: Annotated[SignIn | RefreshTokens, Body(discriminator="grant_type")], work: Work, response: Response
) -> TokensView | Response:
    """Whoever is refused is answered and not raised at: the end of a session, a wrong guess are to be committed."""
    response.headers["cache-control"] = "no-store"
    if isinstance(body, RefreshTokens):
        return await tokens.refresh_session(body.refresh_token, work) or RefreshTokenRefused().response()
    account = await login_throttle.verify_password(body.email, body.password, work)
    return account.response() if isinstance(account, Problem) else await tokens.start_session(account, work)


@router.post("/tokens/revocation", status_code=204)
async def revoke_token(body: RevokeToken, work: Work) -> None:
    """End the session of a refresh token, which is all that it takes. Its access token expires in minutes."""
    await tokens.end_session(body.token, work)


@router.get("/.well-known/jwks.json")
async def list_signing_keys(work: Work, response: Response) -> dict[str, list[dict[str, object]]]:
    response.headers["cache-control"] = f"public, max-age={KEYS_SECONDS}"
    return {"keys": [keys.public_jwk(key) for key in await keys.published_keys(work)]}


@router.post("/signing-keys", status_code=201)
async def rotate_signing_key(work: Work, _: Operator) -> SigningKeyView:
    """The key that will sign next; asked again before it does, the same."""
    return SigningKeyView.model_validate(await keys.rotate_current_key(work), from_attributes=True)
