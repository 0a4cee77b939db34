"""HTTP in: tokens, from sign-in to sign-out, and the keys to check them with."""

from typing import Annotated

from fastapi import Body, Response

from chassis.calls import JWKS_CACHE_SECONDS
from chassis.errors import Problem
from chassis.web import Operator, Router, Work
from chassis.web.problems import response_to
from contracts.user import RefreshTokens, RevokeToken, SignIn, SigningKeyView, TokensView
from user import attempts, keys, tokens
from user.errors import RefreshTokenRefused

router = Router()


@router.post("/tokens", response_model=TokensView)
async def issue_tokens(
    body: Annotated[SignIn | RefreshTokens, Body(discriminator="grant_type")], work: Work, response: Response
) -> TokensView | Response:
    """Whoever is refused is answered and not raised at: the end of a session, a wrong guess are to be committed."""
    response.headers["cache-control"] = "no-store"
    if isinstance(body, RefreshTokens):
        return await tokens.refresh(body.refresh_token, work) or response_to(RefreshTokenRefused())
    account = await attempts.proven(body.email, body.password, work)
    return response_to(account) if isinstance(account, Problem) else await tokens.sign_in(account, work)


@router.post("/tokens/revocation", status_code=204)
async def sign_out(body: RevokeToken, work: Work) -> None:
    """End the session of a refresh token, which is all that it takes. Its access token expires in minutes."""
    await tokens.sign_out(body.token, work)


@router.get("/.well-known/jwks.json")
async def published_keys(work: Work, response: Response) -> dict[str, list[dict[str, object]]]:
    response.headers["cache-control"] = f"public, max-age={JWKS_CACHE_SECONDS}"
    return {"keys": [keys.public(key) for key in await keys.published(work)]}


@router.post("/signing-keys", status_code=201)
async def rotate_keys(work: Work, _: Operator) -> SigningKeyView:
    """The key that will sign next; asked again before it does, the same."""
    return SigningKeyView.model_validate(await keys.rotate_now(work), from_attributes=True)
