"""Payment against the provider simulator on a real port."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import httpx
import pytest

from chassis.jobs import Tasks
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
    """The provider's API. After the test, the provider works without faults again."""
    async with httpx.AsyncClient(base_url=outside.url) as client:
        yield client
        if outside.process is not None:
            defaults = {"faults": "none", "cards": {}, "provider_webhook_url": "", "slow_seconds": 30}
            (await client.put("/settings", json=defaults)).raise_for_status()


@pytest.fixture
async def payment(launch: Launch, outside: Simulators) -> Launched:
    """Payment without periodic tasks: the provider still has payments of earlier tests, which are unknown here."""
    return await launch(replace(service, tasks=Tasks()), **settings(outside))
