"""Payment against the real provider program on a real port."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import httpx
import pytest

from chassis.tasks import Tasks
from chassis.testing import Launch, Launched
from payment.main import service
from simulators.server import Simulators

from .money import settings


@pytest.fixture(scope="module")
def outside() -> Iterator[Simulators]:
    with Simulators.temporary() as server:
        yield server


@pytest.fixture
async def provider(outside: Simulators) -> AsyncIterator[httpx.AsyncClient]:
    """The provider's API, and after the test its good mood."""
    async with httpx.AsyncClient(base_url=outside.url) as client:
        yield client
        if outside.process is not None:
            told = {"faults": "none", "cards": {}, "provider_webhook_url": "", "slow_seconds": 30}
            (await client.put("/settings", json=told)).raise_for_status()


@pytest.fixture
async def payment(launch: Launch, outside: Simulators) -> Launched:
    """Without its tasks: to them, what earlier tests left at the provider would be money that nobody knows."""
    return await launch(replace(service, tasks=Tasks()), **settings(outside))
