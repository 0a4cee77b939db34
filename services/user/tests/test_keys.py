"""Signing keys rotate, on schedule or on demand, and no request fails meanwhile."""

import asyncio
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from joserfc.jws import extract_compact

from chassis.calls import JWKS_CACHE_SECONDS, auth
from chassis.testing import Launched
from user.models import SigningKey

from .conftest import SignedIn, StartUser, refresh, register_customer

STEP = 100  # seconds
TOKEN_STEPS = 900 // STEP


class ShiftedClock:
    """The clock of a verifier, which a test moves forward."""

    def __init__(self) -> None:
        self.passed_seconds = 0.0
        self.time = time.time

    def monotonic(self) -> float:
        return time.monotonic() + self.passed_seconds


class KeyCache:
    """A verifier that caches keys behind an HTTP cache and, like Envoy, does not fetch a key that it misses."""

    def __init__(self, user: Launched, age: float) -> None:
        self._user, self._age = user, age
        self._keys: KeySet | None = None

    async def after(self, seconds: float) -> None:
        self._age += seconds
        if self._keys is None or self._age >= 2 * JWKS_CACHE_SECONDS:
            self._age = self._age % (2 * JWKS_CACHE_SECONDS)
            self._keys = KeySet.import_key_set(await published(self._user))

    def check(self, tokens: Iterable[str]) -> None:
        assert self._keys is not None
        for token in tokens:
            jwt.decode(token, self._keys, algorithms=["EdDSA"])


def key_id_of(token: str) -> Any:
    return extract_compact(token.encode()).headers()["kid"]


async def published(user: Launched) -> Any:
    async with user.client() as client:
        return (await client.get("/.well-known/jwks.json")).json()


async def let_time_pass(user: Launched, clock: ShiftedClock, seconds: float) -> None:
    """Make the clock, and all moments in the rows of the keys, older."""
    clock.passed_seconds += seconds
    kids = [key.kid for key in await user.rows(SigningKey)]
    async with user.instance.database.work() as work:
        for key in await work.lock(SigningKey, kid=kids):
            for name, value in vars(key).items():
                if isinstance(value, datetime):
                    setattr(key, name, value - timedelta(seconds=seconds))
    await user.settled()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ShiftedClock:
    clock = ShiftedClock()
    monkeypatch.setattr(auth, "time", clock)
    return clock


@pytest.fixture
async def fast_rotating_user(start_user: StartUser, clock: ShiftedClock) -> Launched:
    """A user service whose keys sign for half an hour."""
    return await start_user(SIGNING_KEY_ROTATION_SECONDS=1800)


async def test_no_request_fails_while_keys_rotate(fast_rotating_user: Launched, clock: ShiftedClock) -> None:
    ada = await register_customer(fast_rotating_user, "ada@example.org")
    caches = [KeyCache(fast_rotating_user, age) for age in range(0, 2 * JWKS_CACHE_SECONDS, STEP)]
    tokens, signed_by = list[str](), set[str]()
    session = ada.refresh_token
    for _ in range(4000 // STEP):
        issued = (await refresh(fast_rotating_user, session)).json()
        session, tokens = issued["refresh_token"], [*tokens, issued["access_token"]][-TOKEN_STEPS:]
        signed_by.add(key_id_of(tokens[-1]))
        for cache in caches:
            await cache.after(STEP)
            cache.check(tokens)
        for token in (tokens[0], tokens[-1]):
            async with fast_rotating_user.client(token) as client:
                assert (await client.get("/me")).status_code == 200
        await let_time_pass(fast_rotating_user, clock, STEP)
    assert len(signed_by) == 3
    assert len((await published(fast_rotating_user))["keys"]) == 2  # the first key is removed


async def test_a_key_is_published_two_cache_periods_before_it_signs_and_a_token_life_after(
    user: Launched, ada: SignedIn, clock: ShiftedClock
) -> None:
    (old,) = await user.rows(SigningKey)
    async with user.as_service("cli") as operator:
        answer = await operator.post("/signing-keys")
    new = answer.json()
    assert (answer.status_code, new["retired_at"]) == (201, None)
    ahead = datetime.fromisoformat(new["signs_from"]) - datetime.fromisoformat(new["created_at"])
    assert ahead == timedelta(seconds=2 * JWKS_CACHE_SECONDS)
    assert [key["kid"] for key in (await published(user))["keys"]] == [new["kid"], old.kid]
    for seconds, signs in ((2 * JWKS_CACHE_SECONDS - 30, old.kid), (30, new["kid"])):
        await let_time_pass(user, clock, seconds)
        ada.refresh_token = (answer := await refresh(user, ada.refresh_token)).json()["refresh_token"]
        assert key_id_of(answer.json()["access_token"]) == signs
    for seconds, left in ((900, 2), (60, 1)):
        await let_time_pass(user, clock, seconds)
        assert len((await published(user))["keys"]) == left


async def test_a_rotation_in_progress_is_not_started_again(user: Launched, ada: SignedIn) -> None:
    async with user.as_service("cli") as operator:
        answers = await asyncio.gather(*[operator.post("/signing-keys") for _ in range(4)])
    assert {it.status_code for it in answers} == {201}
    assert len({it.json()["kid"] for it in answers}) == 1
    assert len(await user.rows(SigningKey)) == 2


async def test_the_first_key_can_be_rotated_at_once(user: Launched) -> None:
    async with user.as_service("cli") as operator:
        assert (await operator.post("/signing-keys")).status_code == 201
    assert sorted(key.retired_at is None for key in await user.rows(SigningKey)) == [False, True]
