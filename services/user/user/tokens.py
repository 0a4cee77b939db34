"""Tokens: signed ones that services check by themselves, and opaque ones to get the next with."""

import hashlib
import secrets
from datetime import datetime, timedelta
from uuid import UUID

from joserfc import jwt
from joserfc.jwk import OKPKey

from chassis.database import UnitOfWork, new_id
from contracts.user import TokensView
from user import keys, queries
from user.config import UserSettings
from user.models import Account, RefreshToken, SigningKey


async def sign_in(account: Account, work: UnitOfWork) -> TokensView:
    """Start a session. The account is locked, so that none starts while all of them end."""
    return await _tokens(account, new_id(), work)


async def refresh(token: str, work: UnitOfWork) -> TokensView | None:
    """Go on with a session, or None. A token that comes twice was stolen from one of the two who used it,
    so that the session ends for both: RFC 9700, 4.14.2.
    """
    digest = digest_of(token)
    known = await queries.refresh_token(work, digest)
    if known is None:
        return None
    accounts = await work.lock(Account, id=[known.account_id])  # first: a session goes on or ends, never both
    found = await work.lock(RefreshToken, digest=[digest])
    if not accounts or not found or found[0].expires_at <= work.now:
        return None
    if found[0].used:
        await _end(known.session_id, work)
        return None
    found[0].used = True
    return await _tokens(accounts[0], known.session_id, work)


async def sign_out(token: str, work: UnitOfWork) -> None:
    """End the session of a refresh token, used or not. One that is unknown has none left: RFC 7009, 2.2."""
    known = await queries.refresh_token(work, digest_of(token))
    if known is not None:
        await work.lock(Account, id=[known.account_id])
        await _end(known.session_id, work)


async def _end(session_id: UUID, work: UnitOfWork) -> None:
    for token in await work.lock(RefreshToken, session_id=[session_id]):
        work.remove(token)


async def _tokens(account: Account, session_id: UUID, work: UnitOfWork) -> TokensView:
    settings: UserSettings = work.settings
    key = await keys.signing(work)
    token = secrets.token_urlsafe(32)
    work.add(
        RefreshToken.new(
            digest=digest_of(token),
            account_id=account.id,
            session_id=session_id,
            expires_at=work.now + timedelta(seconds=settings.refresh_token_seconds),
        )
    )
    signed = access_token(account, key, settings.token_issuer, work.now, settings.access_token_seconds)
    return TokensView(access_token=signed, refresh_token=token, expires_in=settings.access_token_seconds)


def digest_of(token: str) -> str:
    """Enough for a token of 256 random bits: there is nothing to guess."""
    return hashlib.sha256(token.encode()).hexdigest()


def access_token(account: Account, key: SigningKey, issuer: str, now: datetime, seconds: int) -> str:
    issued = int(now.timestamp())
    claims = {"iss": issuer, "sub": str(account.id), "roles": account.roles, "iat": issued, "exp": issued + seconds}
    header = {"alg": keys.ALGORITHM, "kid": key.kid, "typ": "JWT"}
    return jwt.encode(header, claims, OKPKey.import_key(key.jwk), algorithms=[keys.ALGORITHM])
