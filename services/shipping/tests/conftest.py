"""Shipping against the carrier simulator, and against a small HTTP server in place of the user service."""

from base64 import b64encode
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from chassis.testing import Launch, Launched
from ledger.fakes import FakeUserService, serving
from shipping.main import service
from simulators.server import Simulators

SECRET = b64encode(b"shared with the carrier").decode()


@pytest.fixture
async def users(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeUserService]:
    """After `launch`, which sets USER_URL to a server that only has the keys."""
    users = FakeUserService("shipping")
    monkeypatch.setenv("USER_URL", users.url)
    async with serving(users):
        yield users


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
async def shipping(launch: Launch, users: FakeUserService, carrier: httpx.AsyncClient) -> Launched:
    settings = {"CARRIER_URL": str(carrier.base_url), "CARRIER_TIMEOUT_SECONDS": 0.5, "BREAKER_SECONDS": 0.2}
    return await launch(service, CARRIER_WEBHOOK_SECRET=SECRET, **settings)


@pytest.fixture
async def webhooks(shipping: Launched, carrier: httpx.AsyncClient) -> None:
    """Let the carrier send webhooks."""
    hooks = {"carrier_webhook_url": f"{shipping.url}/hooks/carrier", "carrier_webhook_secret": SECRET}
    (await carrier.put("/settings", json=hooks)).raise_for_status()
