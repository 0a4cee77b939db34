"""The ledger, launched, and servers of its own for the tests of the chassis."""

from collections.abc import Iterator

import pytest

from chassis.testing import Launch, Launched
from ledger.handlers import Outside, outside
from ledger.main import service
from local.kafka import Kafka


@pytest.fixture
async def ledger(launch: Launch) -> Launched:
    return await launch(service)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Outside:
    """What a test sets here is undone after it."""
    monkeypatch.setattr(outside, "broken", frozenset())
    monkeypatch.setattr(outside, "print", outside.print)
    return outside


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    with Kafka.temporary() as server:
        yield server
