"""How a service keeps the keys of an issuer that rotates them, hangs, or is asked for keys that it never had."""

import asyncio
import time
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OKPKey

from chassis.calls import JWKS_CACHE_SECONDS, auth
from chassis.calls.auth import JWKS_RETRY_SECONDS, TokenVerifier
from chassis.database import new_id
from chassis.errors import Unauthenticated, Unavailable
from chassis.testing import SERVICE_KEY


class Clock:
    """Goes on when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.monotonic = lambda: self.now
        self.time = time.time


class Issuer:
    """Publishes its keys at two instances, and notes who was asked."""

    def __init__(self) -> None:
        self.keys = [key("one")]
        self.asked: list[str] = []
        self.away: set[str] = set()
        self.met, self.answers = asyncio.Event(), asyncio.Event()
        self.answers.set()

    async def resolve(self, _: str) -> list[str]:
        return ["http://a", "http://b"]

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.host)
        self.met.set()
        await self.answers.wait()
        if request.url.host in self.away:
            raise httpx.ConnectTimeout("away")
        return httpx.Response(200, json=KeySet(list(self.keys)).as_dict(private=False))


def key(kid: str) -> OKPKey:
    return OKPKey.generate_key("Ed25519", {"kid": kid}, private=True)


def signed(by: OKPKey) -> str:
    """A new token every time, so that none is known from before."""
    claims = {"iss": "user", "sub": str(new_id()), "roles": ["customer"], "exp": int(time.time()) + 600}
    return jwt.encode({"alg": "EdDSA", "kid": by.kid}, claims, by, algorithms=["EdDSA"])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(auth, "time", clock)
    return clock


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def tokens(issuer: Issuer, clock: Clock) -> TokenVerifier:
    discovery: Any = issuer
    return TokenVerifier("user", SERVICE_KEY, discovery, httpx.AsyncClient(transport=httpx.MockTransport(issuer)))


async def test_keys_are_kept_and_asked_for_again_when_they_are_old(
    tokens: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    for seconds, asked in (
        (0, 1),
        (JWKS_CACHE_SECONDS - 1, 1),
        (JWKS_CACHE_SECONDS + 1, 2),
        (JWKS_CACHE_SECONDS + 2, 2),
    ):
        clock.now = seconds
        await tokens.verify(signed(issuer.keys[0]))
        assert len(issuer.asked) == asked


async def test_a_key_that_is_new_is_asked_for_once_by_all_who_meet_it(
    tokens: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    await tokens.verify(signed(issuer.keys[0]))
    clock.now += JWKS_RETRY_SECONDS + 1
    issuer.keys.append(key("two"))
    await asyncio.gather(*[tokens.verify(signed(issuer.keys[1])) for _ in range(5)])
    assert len(issuer.asked) == 2


async def test_keys_that_nobody_published_are_asked_for_once_in_a_while(
    tokens: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    await tokens.verify(signed(issuer.keys[0]))
    for _ in range(3):
        clock.now += JWKS_RETRY_SECONDS + 1
        for _ in range(5):
            with pytest.raises(Unauthenticated):
                await tokens.verify(signed(key("stranger")))
    assert len(issuer.asked) == 1 + 3


async def test_while_the_issuer_is_away_old_keys_are_good_and_it_is_asked_once_in_a_while(
    tokens: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    await tokens.verify(signed(issuer.keys[0]))
    issuer.away = {"a", "b"}
    clock.now += JWKS_CACHE_SECONDS + 1
    for _ in range(5):
        await tokens.verify(signed(issuer.keys[0]))
    assert len(issuer.asked) == 2


async def test_whoever_knows_the_key_does_not_wait_for_an_issuer_that_hangs(
    tokens: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    await tokens.verify(signed(issuer.keys[0]))
    issuer.met.clear()
    issuer.answers.clear()
    clock.now += JWKS_CACHE_SECONDS + 1
    asking = asyncio.create_task(tokens.verify(signed(issuer.keys[0])))
    await issuer.met.wait()
    async with asyncio.timeout(5):
        await tokens.verify(signed(issuer.keys[0]))
    assert not asking.done()
    issuer.answers.set()
    await asking


async def test_the_next_instance_is_asked_when_one_is_away(tokens: TokenVerifier, issuer: Issuer) -> None:
    issuer.away = {"a"}
    with pytest.raises(Unavailable):
        await tokens.verify(signed(issuer.keys[0]))
    await tokens.verify(signed(issuer.keys[0]))
    assert issuer.asked == ["a", "b"]
