"""Tokens: signed ones that services check by themselves, and opaque ones to get the next with."""

import hashlib
import secrets
from datetime import datetime, timedelta
from uuid import UUID

from joserfc import jwt
from joserfc.jwk import OKPKey

from chassis.tables import new_id
from chassis.work import UnitOfWork
from contracts.user import TokensView
from user import keys, queries
from user.config import UserSettings
from user.models import Account, RefreshToken, SigningKey


async def start_session(account: Account, work: UnitOfWork) -> TokensView:
    """Start a session. The account is locked, so that none starts while all of them end."""
    return await _issue_tokens(account, new_id(), work)


async def refresh_session(token: str, work: UnitOfWork) -> TokensView | None:
    """Go on with a session, or None. A token that comes twice was stolen from one of the two who used it,
    so that the session ends for both: RFC 9700, 4.14.2.
    """
    digest = digest_of_token(token)
    known = await queries.refresh_token_by_digest(work, digest)
    if known is None:
        return None
    accounts = await work.lock(Account, id=[known.account_id])  # first: a session goes on or ends, never both
    found = await work.lock(RefreshToken, digest=[digest])
    if not accounts or not found or found[0].expires_at <= work.now:
        return None
    if found[0].used:
        await _remove_session(known.session_id, work)
        return None
    found[0].used = True
    return await _issue_tokens(accounts[0], known.session_id, work)


async def end_session(token: str, work: UnitOfWork) -> None:
    """End the session of a refresh token, used or not. One that is unknown has none left: RFC 7009, 2.2."""
    known = await queries.refresh_token_by_digest(work, digest_of_token(token))
    if known is not None:
        await work.lock(Account, id=[known.account_id])
        await _remove_session(known.session_id, work)


async def _remove_session(session_id: UUID, work: UnitOfWork) -> None:
    for token in await work.lock(RefreshToken, session_id=[session_id]):
        work.remove(token)


async def _issue_tokens(account: Account, session_id: UUID, work: UnitOfWork) -> TokensView:
    settings: UserSettings = work.settings
    key = await keys.signing_key(work)
    token = secrets.token_urlsafe(32)
    work.add(
        RefreshToken.new(
            digest=digest_of_token(token),
            account_id=account.id,
            session_id=session_id,
            expires_at=work.now + timedelta(seconds=settings.refresh_token_seconds),
        )
    )
    signed = sign_access_token(account, key, settings.token_issuer, work.now, settings.access_token_seconds)
    return TokensView(access_token=signed, refresh_token=token, expires_in=settings.access_token_seconds)


def digest_of_token(token: str) -> str:
    """Enough for a token of 256 random bits: there is nothing to guess."""
    return hashlib.sha256(token.encode()).hexdigest()


def sign_access_token(account: Account, key: SigningKey, issuer: str, now: datetime, seconds: int) -> str:
    issued = int(now.timestamp())
    claims = {"iss": issuer, "sub": str(account.id), "roles": account.roles, "iat": issued, "exp": issued + seconds}
    header = {"alg": keys.ALGORITHM, "kid": key.kid, "typ": "JWT"}
    return jwt.encode(header, claims, OKPKey.import_key(key.jwk), algorithms=[keys.ALGORITHM])
