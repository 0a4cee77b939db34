"""Sessions and their tokens: access tokens (JWT), which services verify themselves, and opaque refresh tokens."""

import hashlib
import secrets
from datetime import datetime, timedelta
from uuid import UUID

from joserfc import jwt
from joserfc.jwk import OKPKey

from chassis.database import UnitOfWork, new_id
from contracts.user import TokensView
from contracts.user_api import RefreshTokenRefused
from user import keys, queries
from user.config import UserSettings
from user.models import Account, RefreshToken, SigningKey


async def start_session(account: Account, work: UnitOfWork[UserSettings]) -> TokensView:
    """Start a session of a locked account: the lock keeps a session from starting while all of them are ended."""
    return await _issue_tokens(account, new_id(), work)


async def refresh_session(token: str, work: UnitOfWork[UserSettings]) -> TokensView:
    """The next tokens of a session. Raises RefreshTokenRefused, which commits the end of a session.

    A refresh token that is used twice was stolen by one of its two users, so the session ends for both: RFC 9700,
    section 4.14.2 (refresh token rotation).
    """
    digest = digest_of_token(token)
    known = await queries.refresh_token_by_digest(work, digest)
    if known is None:
        raise RefreshTokenRefused()
    accounts = await work.lock(Account, id=[known.account_id])  # locked first: a session goes on or ends, never both
    found = await work.lock(RefreshToken, digest=[digest])
    if not accounts or not found or found[0].expires_at <= work.now:
        raise RefreshTokenRefused()
    if found[0].used:
        await _remove_session(known.session_id, work)
        raise RefreshTokenRefused()
    found[0].used = True
    return await _issue_tokens(accounts[0], known.session_id, work)


async def end_session(token: str, work: UnitOfWork) -> None:
    """End the session of a refresh token, used or not. An unknown token is no error: RFC 7009, section 2.2."""
    known = await queries.refresh_token_by_digest(work, digest_of_token(token))
    if known is not None:
        await work.lock(Account, id=[known.account_id])
        await _remove_session(known.session_id, work)


async def _remove_session(session_id: UUID, work: UnitOfWork) -> None:
    for token in await work.lock(RefreshToken, session_id=[session_id]):
        work.remove(token)


async def _issue_tokens(account: Account, session_id: UUID, work: UnitOfWork[UserSettings]) -> TokensView:
    settings = work.settings
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
    """A plain SHA-256: a token of 256 random bits needs no slow hash, because it cannot be guessed."""
    return hashlib.sha256(token.encode()).hexdigest()


def sign_access_token(account: Account, key: SigningKey, issuer: str, now: datetime, seconds: int) -> str:
    issued = int(now.timestamp())
    claims = {"iss": issuer, "sub": str(account.id), "roles": account.roles, "iat": issued, "exp": issued + seconds}
    header = {"alg": keys.ALGORITHM, "kid": key.kid, "typ": "JWT"}
    return jwt.encode(header, claims, OKPKey.import_key(key.jwk), algorithms=[keys.ALGORITHM])
