"""The aggregator between services below, which are small HTTP servers that do as they are told."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import httpx
import pytest
import uvicorn
from joserfc.jwk import KeySet

from aggregator.main import service
from chassis.database import new_id
from chassis.process.instance import Server
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
    query: dict[str, str] = field(default_factory=dict)


Answer = tuple[int, Any]
Told = Answer | Callable[[Seen], Awaitable[Answer]]


@dataclass
class Peer:
    """A service below, on a real port: remembers what it got and answers what it was told to."""

    answers: dict[tuple[str, str], Told] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    delay_seconds: float = 0
    port: int = field(default_factory=free_port)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode()))
        seen = Seen(scope["method"], scope["path"], headers, json.loads(body) if body else None, query)
        if seen.path != "/.well-known/jwks.json":
            self.seen.append(seen)
        await asyncio.sleep(self.delay_seconds)
        told: Told = self.answers.get((seen.method, seen.path), (404, problem(404, "not_found")))
        status, answer = told if isinstance(told, tuple) else await told(seen)
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": b"" if answer is None else json.dumps(answer).encode()})


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
    notification: Peer

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
async def running(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, valkey_url: str, **settings: Any
) -> AsyncIterator[Shop]:
    peers = {name: Peer() for name in ("user", "product", "order", "notification")}
    peers["user"].answers["GET", "/.well-known/jwks.json"] = (200, KeySet([ISSUER_KEY]).as_dict(private=False))
    async with serving(*peers.values()):
        for name, peer in peers.items():
            monkeypatch.setenv(f"{name.upper()}_URL", f"http://127.0.0.1:{peer.port}")
        aggregator = await launch(service, VALKEY_URL=valkey_url, CACHE_SECONDS=1, **settings)
        yield Shop(aggregator, **peers)


async def emptied(valkey: Valkey) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", valkey.port)
    writer.write(b"FLUSHALL\r\n")
    await reader.readline()
    writer.close()


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
    """As the owner of orders tells a step."""
    step = step_of(event)
    return {**step, "at": step.pop("changed_at"), "cause": "checkout"}


def life(id: UUID, *kinds: type[OrderEvent], **given: Any) -> list[OrderEvent]:
    """The events of an order that went this way."""
    return [order_state(kind, version, id, **given) for version, kind in enumerate(kinds, 1)]
