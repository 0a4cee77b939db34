"""The aggregator between fake services below it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from aggregator.main import service
from chassis.database import new_id
from chassis.testing import Launch, Launched, token
from contracts.order import OrderEvent, OrderLine, OrderStatus
from contracts.product import ProductChanged
from ledger.fakes import KEYS_PATH, PUBLISHED_KEYS, FakeService, serving
from local.valkey import Valkey

API = "/api/v1"
ADA = new_id()


@dataclass
class Harness:
    """The running aggregator and the fake services that it calls."""

    aggregator: Launched
    user: FakeService
    product: FakeService
    order: FakeService
    notification: FakeService

    def as_ada(self) -> httpx.AsyncClient:
        return self.aggregator.as_customer(ADA)

    def with_role(self, role: str) -> httpx.AsyncClient:
        """Another account that has this role alone; with `service` another service."""
        return self.aggregator.as_service() if role == "service" else self.aggregator.client(token(new_id(), role))

    async def get(self, path: str, status: int = 200, **params: Any) -> Any:
        async with self.as_ada() as client:
            answer = await client.get(API + path, params=params)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey.temporary() as server:
        yield server


@pytest.fixture
async def harness(launch: Launch, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Harness]:
    async with running_harness(launch, monkeypatch, valkey) as harness:
        yield harness


@asynccontextmanager
async def running_harness(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, valkey: Valkey, **settings: Any
) -> AsyncIterator[Harness]:
    """With an empty cache, in which a value stays for longer than a test."""
    await commanded(valkey, "FLUSHALL")
    services = {name: FakeService() for name in ("user", "product", "order", "notification")}
    services["user"].answers["GET", KEYS_PATH] = PUBLISHED_KEYS
    async with serving(*services.values()):
        for name, it in services.items():
            monkeypatch.setenv(f"{name.upper()}_URL", it.url)
        aggregator = await launch(service, VALKEY_URL=valkey.url, CACHE_SECONDS=600, **settings)
        yield Harness(aggregator, **services)


async def commanded(valkey: Valkey, command: str) -> bytes:
    """The first line of Valkey's reply to a command."""
    reader, writer = await asyncio.open_connection("127.0.0.1", valkey.port)
    writer.write(command.encode() + b"\r\n")
    reply = await reader.readline()
    writer.close()
    return reply


def changed(id: UUID | None = None, version: int = 1, **given: Any) -> ProductChanged:
    state = {"name": "Tea", "description": "", "category": "Tea", "price_cents": 450, "currency": "EUR"} | given
    return ProductChanged(product_id=id or new_id(), version=version, **state)


PLACED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def order_state(kind: type[OrderEvent], version: int, id: UUID, customer: UUID = ADA, **given: Any) -> OrderEvent:
    state = {
        "status": OrderStatus(kind.__name__.removeprefix("Order").lower()),
        "reason": None,
        "lines": [OrderLine(product_id=ADA, product_version=1, name="Tea", quantity=2, price_cents=450)],
        "shipping_cents": 490,
        "total_cents": 1390,
        "currency": "EUR",
        "placed_at": PLACED_AT,
        "changed_at": PLACED_AT + timedelta(minutes=version),
    }
    return kind(order_id=id, version=version, customer_id=customer, **state | given)


def view_of(event: OrderEvent) -> dict[str, Any]:
    return event.model_dump(mode="json")


def step_of(event: OrderEvent) -> dict[str, Any]:
    return event.model_dump(mode="json", include={"version", "status", "reason", "changed_at"})


def owned_step(event: OrderEvent) -> dict[str, Any]:
    """The step in the form of the order service."""
    step = step_of(event)
    return {**step, "at": step.pop("changed_at"), "cause": "checkout"}


def life(id: UUID, *kinds: type[OrderEvent], **given: Any) -> list[OrderEvent]:
    """The events of an order that took these steps."""
    return [order_state(kind, version, id, **given) for version, kind in enumerate(kinds, 1)]
