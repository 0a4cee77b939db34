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
from user import queries
from user.config import UserSettings
from user.models import Account, RefreshToken, SigningKey

ALGORITHM = "EdDSA"


async def sign_in(account: Account, work: UnitOfWork, settings: UserSettings) -> TokensView:
    """Start a session."""
    return await _tokens(account, new_id(), work, settings)


async def refresh(token: str, work: UnitOfWork, settings: UserSettings) -> TokensView | None:
    """Go on with a session, or None. A token that comes twice was stolen from one of the two who used it,
    so that the session ends for both: RFC 9700, 4.14.2.
    """
    digest = digest_of(token)
    known = await queries.refresh_token(work, digest)
    if known is None:
        return None
    (account,) = await work.lock(Account, id=[known.account_id])  # first: a session goes on or ends, never both
    found = await work.lock(RefreshToken, digest=[digest])
    if not found or found[0].expires_at <= work.now:
        return None
    if found[0].used:
        for row in await work.lock(RefreshToken, session_id=[known.session_id]):
            work.remove(row)
        return None
    found[0].used = True
    return await _tokens(account, known.session_id, work, settings)


async def _tokens(account: Account, session_id: UUID, work: UnitOfWork, settings: UserSettings) -> TokensView:
    key = (await signing_keys(work))[0]
    await work.begin()
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
    header = {"alg": ALGORITHM, "kid": key.kid, "typ": "JWT"}
    return jwt.encode(header, claims, OKPKey.import_key(key.jwk), algorithms=[ALGORITHM])


async def signing_keys(work: UnitOfWork) -> list[SigningKey]:
    """The newest first. The first to ask makes one; of several at once the others wait for it and use it too."""
    if keys := await queries.signing_keys(work):
        return keys
    await work.execute("LOCK TABLE signing_keys IN EXCLUSIVE MODE")
    return await queries.signing_keys(work) or [work.add(new_signing_key(work.now))]


def new_signing_key(now: datetime) -> SigningKey:
    key = OKPKey.generate_key("Ed25519", {"alg": ALGORITHM, "use": "sig"})
    return SigningKey.new(kid=key.thumbprint(), jwk=key.as_dict(private=True), created_at=now)


def public(key: SigningKey) -> dict[str, object]:
    """What everybody may know of a key: RFC 7517."""
    return {**OKPKey.import_key(key.jwk).as_dict(private=False), "kid": key.kid}
