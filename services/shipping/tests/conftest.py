"""Shipping against the carrier simulator, and against a small HTTP server in place of the user service."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from uuid import UUID

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey

from chassis.database import new_id
from chassis.testing import ISSUER_KEY, SERVICE_KEY, Launch, Launched
from shipping.main import service
from simulators.server import Simulators

SECRET = b64encode(b"shared with the carrier").decode()


class AddressServer(ThreadingHTTPServer):
    """The part of the user service that shipping calls: addresses, and the keys of access tokens."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _AddressRequestHandler)
        self.addresses: dict[UUID, dict[str, str]] = {}
        self.unavailable = False

    def add(self, country: str = "DE", postcode: str = "10115") -> UUID:
        id = new_id()
        address = {"name": "Ada Lovelace", "street": "St James's Square 12", "postcode": postcode, "city": "London"}
        self.addresses[id] = {"id": str(id), **address, "country": country}
        return id


class _AddressRequestHandler(BaseHTTPRequestHandler):
    server: AddressServer

    def do_GET(self) -> None:
        status, answer = self.answer()
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self) -> tuple[int, Any]:
        if self.path == "/.well-known/jwks.json":
            return 200, KeySet([ISSUER_KEY]).as_dict(private=False)
        if self.server.unavailable:
            return 503, {}
        token = jwt.decode(self.headers["authorization"].removeprefix("Bearer "), OctKey.import_key(SERVICE_KEY))
        assert (token.claims["sub"], token.claims["roles"]) == ("shipping", ["service"])
        address = self.server.addresses.get(UUID(self.path.removeprefix("/addresses/")))
        return (
            (200, address)
            if address
            else (404, {"code": "address_not_found", "detail": "There is no address with this id."})
        )

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def users(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> Iterator[AddressServer]:
    """An address server. It needs `launch` first, which sets USER_URL to a server that only has the keys."""
    with AddressServer() as users:
        Thread(target=users.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        monkeypatch.setenv("USER_URL", f"http://127.0.0.1:{users.server_port}")
        yield users
        users.shutdown()


@pytest.fixture(scope="session")
def outside() -> Iterator[Simulators]:
    with Simulators.temporary() as server:
        yield server


@pytest.fixture
async def carrier(outside: Simulators) -> AsyncIterator[httpx.AsyncClient]:
    """The carrier's API. Parcels stay where they are, and the carrier sends no webhooks."""
    async with httpx.AsyncClient(base_url=outside.url) as client:
        settings = {"dispatch_seconds": 3600, "deliver_seconds": 3600, "carrier_webhook_url": "", "late_seconds": 0.2}
        settings |= {"faults": "none", "postcodes": {}}
        (await client.put("/settings", json=settings)).raise_for_status()
        yield client


@pytest.fixture
async def shipping(launch: Launch, users: AddressServer, carrier: httpx.AsyncClient) -> Launched:
    settings = {"CARRIER_URL": str(carrier.base_url), "CARRIER_TIMEOUT_SECONDS": 0.5, "BREAKER_SECONDS": 0.2}
    return await launch(service, CARRIER_WEBHOOK_SECRET=SECRET, **settings)


@pytest.fixture
async def webhooks(shipping: Launched, carrier: httpx.AsyncClient) -> None:
    """Let the carrier send webhooks."""
    hooks = {"carrier_webhook_url": f"{shipping.url}/hooks/carrier", "carrier_webhook_secret": SECRET}
    (await carrier.put("/settings", json=hooks)).raise_for_status()
