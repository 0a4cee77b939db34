"""The aggregator between services below, which are small HTTP servers that do as they are told."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
import uvicorn
from joserfc.jwk import KeySet

from aggregator.main import service
from chassis.instance import Server
from chassis.tables import new_id
from chassis.testing import ISSUER_KEY, Launch, Launched, free_port
from contracts.order import (
    OrderEvent,
    OrderLine,
    OrderStatus,
)
from contracts.product import ProductChanged
from local.valkey import Valkey

API = "/api/v1"
ADA = new_id()


@dataclass
class Seen:
    """A request as a service below received it."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Peer:
    """A service below, on a real port: remembers what it got and answers what it was told to."""

    answers: dict[tuple[str, str], tuple[int, Any]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    delay_seconds: float = 0
    port: int = field(default_factory=free_port)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        seen = Seen(scope["method"], scope["path"], headers, json.loads(body) if body else None)
        if seen.path != "/.well-known/jwks.json":
            self.seen.append(seen)
        await asyncio.sleep(self.delay_seconds)
        status, answer = self.answers.get((seen.method, seen.path), (404, problem(404, "not_found")))
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


@asynccontextmanager
async def serving(*peers: Peer) -> AsyncIterator[None]:
    servers = [Server(uvicorn.Config(peer, port=peer.port, log_config=None, lifespan="off")) for peer in peers]
    async with asyncio.TaskGroup() as group:
        for server in servers:
            group.create_task(server.serve())
        while not all(server.started for server in servers):  # noqa: ASYNC110  # uvicorn offers no event
            await asyncio.sleep(0.01)
        yield
        for server in servers:
            server.should_exit = server.force_exit = True


def problem(status: int, code: str) -> dict[str, Any]:
    return {"type": "about:blank", "title": "No", "status": status, "code": code, "detail": "No."}


@dataclass
class Shop:
    """The aggregator between its peers."""

    aggregator: Launched
    user: Peer
    product: Peer
    order: Peer

    def as_ada(self) -> httpx.AsyncClient:
        return self.aggregator.as_customer(ADA)

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
async def shop(launch: Launch, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    await emptied(valkey)
    async with running(launch, monkeypatch, valkey.url) as shop:
        yield shop


@asynccontextmanager
async def running(launch: Launch, monkeypatch: pytest.MonkeyPatch, valkey_url: str) -> AsyncIterator[Shop]:
    user, product, order = Peer(), Peer(), Peer()
    user.answers["GET", "/.well-known/jwks.json"] = (200, KeySet([ISSUER_KEY]).as_dict(private=False))
    async with serving(user, product, order):
        for name, peer in (("USER", user), ("PRODUCT", product), ("ORDER", order)):
            monkeypatch.setenv(f"{name}_URL", f"http://127.0.0.1:{peer.port}")
        aggregator = await launch(service, VALKEY_URL=valkey_url, CACHE_SECONDS=1)
        yield Shop(aggregator, user, product, order)


async def emptied(valkey: Valkey) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", valkey.port)
    writer.write(b"FLUSHALL\r\n")
    await reader.readline()
    writer.close()


def changed(id: UUID | None = None, version: int = 1, **given: Any) -> ProductChanged:
    state = {"name": "Tea", "description": "", "category": "Tea", "price_cents": 450, "currency": "EUR"} | given
    return ProductChanged(product_id=id or new_id(), version=version, **state)


def order_state(kind: type[OrderEvent], version: int, id: UUID, customer: UUID = ADA) -> OrderEvent:
    return kind(
        order_id=id,
        version=version,
        status=OrderStatus(kind.__name__.removeprefix("Order").lower()),
        reason=None,
        customer_id=customer,
        lines=[OrderLine(product_id=ADA, product_version=1, name="Tea", quantity=2, price_cents=450)],
        shipping_cents=490,
        total_cents=1390,
        currency="EUR",
        placed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def view_of(event: OrderEvent) -> dict[str, Any]:
    return event.model_dump(mode="json")
