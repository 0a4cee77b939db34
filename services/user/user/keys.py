"""Signing keys: published before they sign and as long as a token of theirs lives, so that no rotation is noticed."""

from datetime import datetime, timedelta

from joserfc.jwk import OKPKey

from chassis.auth import KEYS_SECONDS
from chassis.work import UnitOfWork
from user import queries
from user.config import UserSettings
from user.models import SigningKey

ALGORITHM = "EdDSA"
# Whoever keeps the keys, and a cache on the way to him, may each be this late. Envoy asks for no key that it misses.
PUBLISHED_AHEAD = timedelta(seconds=2 * KEYS_SECONDS)
CLOCK_SKEW = timedelta(minutes=1)


async def published_keys(work: UnitOfWork) -> list[SigningKey]:
    """The newest first. The first to ask makes one; of several at once the others wait for it and use it too."""
    if keys := await queries.signing_keys(work):
        return keys
    await work.execute("LOCK TABLE signing_keys IN EXCLUSIVE MODE")
    return await queries.signing_keys(work) or [work.add(_generate_key(work.now, work.settings))]


async def signing_key(work: UnitOfWork) -> SigningKey:
    """The newest that may sign. Begins the transaction, whose time counts."""
    keys = await published_keys(work)
    await work.begin()
    return next((key for key in keys if key.signs_from <= work.now), keys[-1])  # the first, made at this moment


async def rotate_current_key(work: UnitOfWork) -> SigningKey:
    """The successor of the key that signs; the one that waits already, if there is one."""
    await work.execute("LOCK TABLE signing_keys IN EXCLUSIVE MODE")
    newest = (await published_keys(work))[0]
    if newest.signs_from > work.now:
        return newest
    locked = await work.lock(SigningKey, kid=[newest.kid])
    return rotate_key(locked[0] if locked else newest, work)  # there is none to lock if it was made here and now


def rotate_key(key: SigningKey, work: UnitOfWork) -> SigningKey:
    """Publish a successor, which will sign when everybody must have seen it."""
    settings: UserSettings = work.settings
    successor = work.add(_generate_key(work.now, settings, PUBLISHED_AHEAD))
    token_life = timedelta(seconds=settings.access_token_seconds)
    key.rotates_at, key.retired_at = None, successor.signs_from
    key.published_until = successor.signs_from + token_life + CLOCK_SKEW
    return successor


def _generate_key(now: datetime, settings: UserSettings, ahead: timedelta = timedelta()) -> SigningKey:
    """Rotates so early that its successor signs when its time is over."""
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
    """What everybody may know of a key: RFC 7517."""
    return {**OKPKey.import_key(key.jwk).as_dict(private=False), "kid": key.kid}
