"""The ledger, launched, and servers of its own for the tests of the chassis."""

import pytest

from chassis.testing import Launch, Launched
from ledger.handlers import Outside, outside
from ledger.main import service
from local.kafka import Kafka
from servers import Servers


@pytest.fixture
async def ledger(launch: Launch) -> Launched:
    return await launch(service)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Outside:
    """What a test sets here is undone after it."""
    monkeypatch.setattr(outside, "broken", frozenset())
    monkeypatch.setattr(outside, "print", outside.print)
    return outside


@pytest.fixture
def kafka(servers: Servers) -> Kafka:
    server, _ = servers("kafka")
    assert isinstance(server, Kafka)
    return server
