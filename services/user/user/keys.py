"""Signing keys and their rotation.

A key is published before it signs, and until its last token has expired, so that no request fails during a rotation.
"""

from datetime import datetime, timedelta

from joserfc.jwk import OKPKey

from chassis.calls import JWKS_CACHE_SECONDS
from chassis.database import UnitOfWork
from user import queries
from user.config import UserSettings
from user.models import SigningKey

ALGORITHM = "EdDSA"
# A verifier and an HTTP cache before it may each serve keys that are this old. Envoy does not fetch a key it misses.
PUBLISHED_AHEAD = timedelta(seconds=2 * JWKS_CACHE_SECONDS)
CLOCK_SKEW = timedelta(minutes=1)


async def published_keys(work: UnitOfWork[UserSettings]) -> list[SigningKey]:
    """The newest first. The first call makes a key; concurrent calls wait for that key and use it too."""
    if keys := await queries.signing_keys(work):
        return keys
    await work.execute("LOCK TABLE signing_keys IN EXCLUSIVE MODE")
    return await queries.signing_keys(work) or [work.add(_generate_key(work.now, work.settings))]


async def signing_key(work: UnitOfWork[UserSettings]) -> SigningKey:
    """The newest key that may sign by the time of the transaction, which begins here."""
    keys = await published_keys(work)
    await work.begin()
    first_ever = keys[-1]  # signs at once: this transaction may have made it
    return next((key for key in keys if key.signs_from <= work.now), first_ever)


async def rotate_current_key(work: UnitOfWork[UserSettings]) -> SigningKey:
    """The successor of the key that signs. If one is published already, it is returned and no other is made."""
    await work.execute("LOCK TABLE signing_keys IN EXCLUSIVE MODE")
    newest = (await published_keys(work))[0]
    if newest.signs_from > work.now:
        return newest
    locked = await work.lock(SigningKey, kid=[newest.kid])
    return rotate_key(locked[0] if locked else newest, work)  # a key that this transaction made has no row to lock yet


def rotate_key(key: SigningKey, work: UnitOfWork[UserSettings]) -> SigningKey:
    """Publish a successor. It signs when every verifier must have fetched it."""
    settings = work.settings
    successor = work.add(_generate_key(work.now, settings, PUBLISHED_AHEAD))
    token_life = timedelta(seconds=settings.access_token_seconds)
    key.rotates_at, key.retired_at = None, successor.signs_from
    key.published_until = successor.signs_from + token_life + CLOCK_SKEW
    return successor


def _generate_key(now: datetime, settings: UserSettings, ahead: timedelta = timedelta()) -> SigningKey:
    """A key whose rotation starts early enough for its successor to sign when its own time is over."""
    key = OKPKey.generate_key("Ed25519", {"alg": ALGORITHM, "use": "sig"})
    signs_from = now + ahead
    return SigningKey.new(
        kid=key.thumbprint(),
        jwk=key.as_dict(private=True),
        created_at=now,
        signs_from=signs_from,
        rotates_at=signs_from + timedelta(seconds=settings.signing_key_rotation_seconds) - PUBLISHED_AHEAD,
    )


def public_jwk(key: SigningKey) -> dict[str, object]:
    """The public half of a key as a JWK: RFC 7517."""
    return {**OKPKey.import_key(key.jwk).as_dict(private=False), "kid": key.kid}
