"""Who calls, by bearer token: access tokens of people, which the issuer signs, and tokens of services."""

import asyncio
import time
import warnings
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey

from chassis.calls.discovery import Discovery, NotDiscovered
from chassis.errors import Forbidden, Unauthenticated, Unavailable

# Joserfc prefers the name Ed25519 of RFC 9864, which Envoy does not know.
warnings.filterwarnings("ignore", message="EdDSA is deprecated")

SERVICE_ISSUER = "service"
SERVICE_TOKEN_SECONDS = 300
JWKS_CACHE_SECONDS = 300  # how long keys are cached; a new key is published for twice as long before it signs
JWKS_RETRY_SECONDS = 5  # the pause between two requests for the keys, for an unknown key id or while the issuer is away


@dataclass(frozen=True)
class Token:
    """A verified access token. `subject` is an account id, or a service's name for service tokens."""

    subject: str
    roles: frozenset[str]
    expires_at: float
    raw: str = field(repr=False)

    @property
    def id(self) -> UUID:
        """The id of the account that calls."""
        try:
            return UUID(self.subject)
        except ValueError:
            raise Forbidden("This operation is for people, not for services.") from None

    def require_role(self, role: str) -> "Token":
        """The token itself, if it carries the role. A service may do everything: it has checked its own caller."""
        if role in self.roles or "service" in self.roles:
            return self
        raise Forbidden(f"This needs the role {role}.")


def service_token(service: str, key: str) -> str:
    """A token with which a service speaks for itself."""
    now = int(time.time())
    claims = {
        "iss": SERVICE_ISSUER,
        "sub": service,
        "roles": ["service"],
        "iat": now,
        "exp": now + SERVICE_TOKEN_SECONDS,
    }
    return jwt.encode({"alg": "HS256", "kid": "service"}, claims, OctKey.import_key(key))


class TokenVerifier:
    """Verifies tokens with the keys that the issuer publishes (JWKS). Requests the keys when it needs them."""

    def __init__(self, issuer: str, service_key: str, discovery: Discovery, http: httpx.AsyncClient) -> None:
        self._issuer, self._discovery, self._http = issuer, discovery, http
        self._service_key = OctKey.import_key(service_key)
        self._keys: KeySet | None = None
        self._requested_at = self._answered_at = float("-inf")  # in time.monotonic()
        self._turn = count()
        self._requesting = asyncio.Lock()
        self._verified: dict[str, Token] = {}

    async def verify(self, raw: str) -> Token:
        token = self._verified.get(raw)
        if token is None:
            token = await self._decode(raw)
            if len(self._verified) >= 10_000:
                self._verified.clear()
            self._verified[raw] = token
        if token.expires_at <= time.time():
            raise Unauthenticated("The access token has expired.")
        return token

    async def _decode(self, raw: str) -> Token:
        try:
            claims = await self._claims(raw)
            return Token(str(claims["sub"]), frozenset(claims["roles"]), float(claims["exp"]), raw)
        except (JoseError, KeyError, ValueError, TypeError):
            raise Unauthenticated("The access token is malformed or not signed by us.") from None

    async def _claims(self, raw: str) -> dict[str, Any]:
        header = _header(raw)
        if header.get("kid") == "service":
            claims = jwt.decode(raw, self._service_key, algorithms=["HS256"]).claims
            expected = SERVICE_ISSUER
        else:
            if header.get("alg") != "EdDSA" or not isinstance(header.get("kid"), str):
                raise ValueError("not a token of the issuer")  # also while the issuer is away
            keys = await self._keys_with(header["kid"])
            claims = jwt.decode(raw, keys, algorithms=["EdDSA"]).claims
            expected = self._issuer
        if claims.get("iss") != expected:
            raise ValueError("iss")
        return dict(claims)

    async def _keys_with(self, kid: str) -> KeySet:
        """The published keys. While the issuer is away, old keys stay in use."""
        if not self._has_key(kid) or (self._are_stale() and self._may_fetch_keys()):
            async with self._requesting:  # a request for the keys that is under way serves all who wait
                if (not self._has_key(kid) or self._are_stale()) and self._may_fetch_keys():
                    await self._fetch_keys()
        assert self._keys is not None
        return self._keys

    def _has_key(self, kid: str) -> bool:
        return self._keys is not None and any(key.kid == kid for key in self._keys.keys)

    def _are_stale(self) -> bool:
        return time.monotonic() - self._answered_at > JWKS_CACHE_SECONDS

    def _may_fetch_keys(self) -> bool:
        return self._keys is None or time.monotonic() - self._requested_at > JWKS_RETRY_SECONDS

    async def _fetch_keys(self) -> None:
        self._requested_at = time.monotonic()
        try:
            urls = await self._discovery.resolve(self._issuer)
            url = urls[next(self._turn) % len(urls)]
            answer = await self._http.get(f"{url}/.well-known/jwks.json", timeout=3)
            answer.raise_for_status()
            self._keys = KeySet.import_key_set(answer.json())
            self._answered_at = time.monotonic()
        except (httpx.HTTPError, NotDiscovered, ValueError) as error:
            if self._keys is None:
                raise Unavailable("Tokens cannot be verified now: their issuer is away.", retry_after=1) from error


def _header(raw: str) -> dict[str, Any]:
    from joserfc.jws import extract_compact

    return dict(extract_compact(raw.encode()).headers())
