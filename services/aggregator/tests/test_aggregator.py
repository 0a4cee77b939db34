"""The public API: read models fed by events, a cache that may be away, and services below that may be too."""

import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
import uvicorn
from joserfc.jwk import KeySet, OKPKey

from aggregator.main import service
from aggregator.models import Order, Product
from chassis.instance import Server
from chassis.tables import new_id
from chassis.testing import ISSUER_KEY, Launch, Launched, free_port, token
from contracts.order import (
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderEvent,
    OrderLine,
    OrderPlaced,
    OrderReserved,
    OrderShipped,
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
    async def running(self) -> AsyncIterator[None]:
        server = Server(uvicorn.Config(self, port=self.port, log_config=None, lifespan="off"))
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110  # uvicorn offers no event
            await asyncio.sleep(0.01)
        try:
            yield
        finally:
            server.should_exit = server.force_exit = True
            await serving


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
    async with user.running(), product.running(), order.running():
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


# Products.


async def test_what_is_announced_is_shown(shop: Shop) -> None:
    event = changed()
    await shop.aggregator.send(event)
    (shown,) = (await shop.get("/products"))["items"]
    assert shown == {"id": str(event.product_id), **event.model_dump(mode="json", exclude={"product_id"})}


@pytest.mark.parametrize("versions", [(1, 2, 3), (3, 2, 1), (2, 2, 3, 1, 3)])
@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
async def test_the_newest_version_wins(shop: Shop, versions: tuple[int, ...], together: bool) -> None:
    id = new_id()
    events = [changed(id, version, price_cents=100 * version) for version in versions]
    if together:
        await shop.aggregator.send(*events)
    else:
        for event in events:
            await shop.aggregator.send(event)
    (row,) = await shop.aggregator.rows(Product)
    assert (row.version, row.price_cents) == (3, 300)


async def test_pages_show_everything_once_by_name(shop: Shop) -> None:
    events = [changed(name=f"Tea {number % 7}") for number in range(45)]
    await shop.aggregator.send(*events)
    found: list[dict[str, Any]] = []
    page = await shop.get("/products", limit=10)
    while page["next_cursor"] is not None:
        found += page["items"]
        page = await shop.get("/products", limit=10, cursor=page["next_cursor"])
    found += page["items"]
    assert {it["id"] for it in found} == {str(event.product_id) for event in events}
    assert len(found) == 45
    assert [it["name"] for it in found] == sorted(it["name"] for it in found)


async def test_search_and_categories(shop: Shop) -> None:
    await shop.aggregator.send(
        changed(name="Green Tea", description="Loose leaves"), changed(name="Teapot", category="Pots")
    )

    async def names(**params: str) -> list[str]:
        return [it["name"] for it in (await shop.get("/products", **params))["items"]]

    assert await names(q="tea") == ["Green Tea", "Teapot"]
    assert await names(q="LEA gre") == ["Green Tea"]
    assert await names(q="tea", category="Pots") == ["Teapot"]
    assert await names(category="Tea") == ["Green Tea"]
    assert await names(q="a | ( & ') !") == []
    assert await shop.get("/categories") == [{"name": "Pots", "products": 1}, {"name": "Tea", "products": 1}]


async def test_a_product_says_how_many_can_be_had_now(shop: Shop) -> None:
    event = changed()
    await shop.aggregator.send(event)
    shop.product.answers["GET", "/stock"] = (200, [{"product_id": str(event.product_id), "on_hand": 5, "reserved": 2}])
    shown = await shop.get(f"/products/{event.product_id}")
    assert (shown["name"], shown["available"], shown["partial"]) == ("Tea", 3, [])
    shop.product.answers["GET", "/stock"] = (200, [{"product_id": str(event.product_id), "on_hand": 5, "reserved": 5}])
    assert (await shop.get(f"/products/{event.product_id}"))["available"] == 0


@pytest.mark.parametrize("trouble", ["slow", "failing", "away"])
async def test_a_product_is_shown_in_part_when_stock_is_unknown(
    shop: Shop, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = changed()
    await shop.aggregator.send(event)
    if trouble == "slow":
        shop.product.delay_seconds = 3
    if trouble == "failing":
        shop.product.answers["GET", "/stock"] = (500, problem(500, "internal"))
    if trouble == "away":
        monkeypatch.setenv("PRODUCT_URL", f"http://127.0.0.1:{free_port()}")
    started = time.monotonic()
    shown = await shop.get(f"/products/{event.product_id}")
    assert (shown["name"], shown["available"], shown["partial"]) == ("Tea", None, ["available"])
    assert time.monotonic() - started < 2


# The cache.


async def test_a_page_comes_from_the_cache_for_a_while(shop: Shop) -> None:
    event = changed()
    await shop.aggregator.send(event)
    before = await shop.get("/products")
    async with shop.aggregator.instance.database.work() as work:
        await work.execute("UPDATE products SET name = 'Changed behind its back'")
    assert await shop.get("/products") == before
    await asyncio.sleep(1.2)
    assert (await shop.get("/products"))["items"][0]["name"] == "Changed behind its back"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "hanging"])
async def test_without_its_cache_the_shop_is_only_slower(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: signal.Signals
) -> None:
    caplog.set_level(logging.WARNING)
    async with Valkey.temporary() as valkey, running(launch, monkeypatch, valkey.url) as shop:
        event = changed()
        await shop.aggregator.send(event)
        shop.product.answers["GET", "/stock"] = (200, [])
        await shop.get("/products")
        assert valkey.process is not None
        os.kill(valkey.process.pid, how)
        started = time.monotonic()
        for _ in range(20):
            assert len((await shop.get("/products"))["items"]) == 1
            assert (await shop.get(f"/products/{event.product_id}"))["name"] == "Tea"
        assert time.monotonic() - started < 10
        if how == signal.SIGSTOP:
            os.kill(valkey.process.pid, signal.SIGCONT)
        else:
            valkey.kill()
            await asyncio.to_thread(valkey.start)
        await asyncio.sleep(1.1)
        await shop.get("/products")
    said = [record.getMessage() for record in caplog.records if "cache" in record.getMessage()]
    assert said == ["the cache is away; waiting for it", "the cache is back"]


async def test_what_another_version_of_the_program_cached_is_no_trouble(shop: Shop, valkey: Valkey) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", valkey.port)
    writer.write(b'SET categories "[1]"\r\n')
    await reader.readline()
    writer.close()
    assert await shop.get("/categories") == []


# Orders.


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
async def test_an_order_shows_its_newest_status(shop: Shop, together: bool) -> None:
    """Whether its events come in order, late, early or twice."""
    id = new_id()
    kinds = [OrderPlaced, OrderReserved, OrderConfirmed, OrderShipped, OrderDelivered]
    events = [order_state(kind, version, id) for version, kind in enumerate(kinds, 1)]
    mixed = [events[2], events[0], events[2], events[4], events[3], events[1], events[4]]
    if together:
        await shop.aggregator.send(*mixed)
    else:
        for event in mixed:
            await shop.aggregator.send(event)
    assert await shop.get(f"/orders/{id}") == view_of(events[4]) | {"partial": []}
    assert (await shop.get("/orders"))["items"] == [view_of(events[4])]
    assert shop.order.seen == []


async def test_orders_are_listed_from_the_newest_and_only_to_their_owner(shop: Shop) -> None:
    ids, others = [new_id() for _ in range(25)], [new_id() for _ in range(5)]
    await shop.aggregator.send(*[order_state(OrderPlaced, 1, id) for id in ids])
    await shop.aggregator.send(*[order_state(OrderPlaced, 1, id, customer=new_id()) for id in others])
    first = await shop.get("/orders", limit=20)
    rest = await shop.get("/orders", limit=20, cursor=first["next_cursor"])
    assert [it["order_id"] for it in first["items"] + rest["items"]] == [str(id) for id in reversed(ids)]
    assert rest["next_cursor"] is None


async def test_somebody_elses_order_does_not_exist(shop: Shop) -> None:
    seen, unseen = new_id(), new_id()
    await shop.aggregator.send(order_state(OrderPlaced, 1, seen, customer=new_id()))
    shop.order.answers["GET", f"/orders/{unseen}"] = (404, problem(404, "order_not_found"))
    for id in (seen, unseen):
        assert (await shop.get(f"/orders/{id}", 404))["code"] == "order_not_found"


async def test_who_has_just_placed_an_order_sees_it(shop: Shop) -> None:
    """Its event is still on the way: the owner is asked, in the caller's name."""
    fresh = order_state(OrderPlaced, 1, new_id())
    shop.order.answers["GET", f"/orders/{fresh.order_id}"] = (200, view_of(fresh))
    async with shop.as_ada() as client:
        shown = (await client.get(f"{API}/orders/{fresh.order_id}")).json()
        assert shop.order.seen[0].headers["authorization"] == client.headers["authorization"]
    assert shown == view_of(fresh) | {"partial": []}


async def test_nobody_sees_an_order_go_back(shop: Shop) -> None:
    """Who has seen version 2 elsewhere is not shown version 1, unless nobody can be asked: then it is said."""
    id = new_id()
    old, new = order_state(OrderPlaced, 1, id), order_state(OrderCancelled, 2, id)
    await shop.aggregator.send(old)
    shop.order.answers["GET", f"/orders/{id}"] = (200, view_of(new))
    assert (await shop.get(f"/orders/{id}", version=1))["status"] == "placed"
    assert (await shop.get(f"/orders/{id}", version=2))["status"] == "cancelled"
    shop.order.answers["GET", f"/orders/{id}"] = (503, problem(503, "unavailable"))
    assert await shop.get(f"/orders/{id}", version=2) == view_of(old) | {"partial": ["status"]}


async def test_what_is_known_is_shown_while_order_is_away(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    id = new_id()
    await shop.aggregator.send(order_state(OrderPlaced, 1, id))
    monkeypatch.setenv("ORDER_URL", f"http://127.0.0.1:{free_port()}")
    assert (await shop.get(f"/orders/{id}"))["status"] == "placed"
    assert len((await shop.get("/orders"))["items"]) == 1
    for path in (f"/orders/{new_id()}", "/cart"):
        assert (await shop.get(path, 503))["code"] == "unavailable"


# What is done below, in the caller's name.

ID = str(new_id())
ACCOUNT = {"id": ID, "email": "ada@example.org", "name": "Ada", "roles": ["customer"]}
TOKENS = {"access_token": "a", "refresh_token": "r", "token_type": "Bearer", "expires_in": 900}
HOME = {"name": "Ada", "street": "Main St 1", "postcode": "10115", "city": "Berlin", "country": "DE"}
CART = {"lines": [], "total_cents": 0, "currency": "EUR"}
REGISTER = {"email": "ada@example.org", "password": "correct horse", "name": "Ada"}
SIGN_IN = {"grant_type": "password", "email": "ada@example.org", "password": "correct horse"}
CHECKOUT = {"address_id": ID, "payment_token": "tok_visa", "total_cents": 1390}
DELEGATED: list[tuple[str, str, str, Any, int, Any]] = [
    ("user", "POST", "/accounts", REGISTER, 201, ACCOUNT),
    ("user", "POST", "/tokens", SIGN_IN, 200, TOKENS),
    ("user", "POST", "/tokens", {"grant_type": "refresh_token", "refresh_token": "r"}, 200, TOKENS),
    ("user", "GET", "/me", None, 200, ACCOUNT),
    ("user", "GET", "/me/addresses", None, 200, [{"id": ID, **HOME}]),
    ("user", "POST", "/me/addresses", HOME, 201, {"id": ID, **HOME}),
    ("order", "GET", "/cart", None, 200, CART),
    ("order", "PUT", f"/cart/lines/{ID}", {"quantity": 2}, 200, CART),
    ("order", "DELETE", f"/cart/lines/{ID}", None, 200, CART),
    ("order", "POST", "/checkouts", CHECKOUT, 202, view_of(order_state(OrderPlaced, 1, UUID(ID)))),
]
NAMES = [f"{method} {path}".replace(ID, "ID") for _, method, path, *_ in DELEGATED]


@pytest.mark.parametrize(("owner", "method", "path", "body", "status", "answer"), DELEGATED, ids=NAMES)
async def test_a_request_is_passed_on(
    shop: Shop, owner: str, method: str, path: str, body: Any, status: int, answer: Any
) -> None:
    peer: Peer = getattr(shop, owner)
    peer.answers[method, path] = (status, answer)
    async with shop.as_ada() as client:
        headers = {"Idempotency-Key": "once"} if path == "/checkouts" else {}
        response = await client.request(method, API + path, json=body, headers=headers)
        assert (response.status_code, response.json()) == (status, answer)
        (seen,) = peer.seen
        assert (seen.method, seen.path, seen.body) == (method, path, body)
        assert seen.headers["authorization"] == client.headers["authorization"]
    if path == "/checkouts":
        assert seen.headers["idempotency-key"] == "once"
        assert response.headers["location"] == f"{API}/orders/{ID}"


@pytest.mark.parametrize(("owner", "method", "path", "body", "status", "answer"), DELEGATED, ids=NAMES)
async def test_a_refusal_is_passed_back(
    shop: Shop, owner: str, method: str, path: str, body: Any, status: int, answer: Any
) -> None:
    peer: Peer = getattr(shop, owner)
    errors = [{"field": "quantity", "code": "price_changed", "detail": "No."}]
    peer.answers[method, path] = (409, {**problem(409, "price_changed"), "total_cents": 7, "errors": errors})
    async with shop.as_ada() as client:
        response = await client.request(method, API + path, json=body, headers={"Idempotency-Key": "once"})
    told = response.json()
    assert (response.status_code, told["code"], told["total_cents"], told["errors"]) == (
        409,
        "price_changed",
        7,
        errors,
    )
    assert response.headers["content-type"] == "application/problem+json"


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


LINE = f"/cart/lines/{ID}"
BAD_INPUT: dict[str, tuple[str, str, Any, int, str, str | None]] = {
    "quantity zero": ("PUT", LINE, {"quantity": 0}, 422, "invalid_input", "quantity"),
    "quantity negative": ("PUT", LINE, {"quantity": -1}, 422, "invalid_input", "quantity"),
    "quantity absurd": ("PUT", LINE, {"quantity": 1_000_000_000_000}, 422, "invalid_input", "quantity"),
    "quantity half": ("PUT", LINE, {"quantity": 1.5}, 422, "invalid_input", "quantity"),
    "quantity missing": ("PUT", LINE, {}, 422, "invalid_input", "quantity"),
    "unknown field": ("PUT", LINE, {"quantity": 1, "price_cents": 1}, 422, "invalid_input", "price_cents"),
    "product no id": ("PUT", "/cart/lines/tea", {"quantity": 1}, 422, "invalid_input", "product_id"),
    "broken JSON": ("PUT", LINE, b'{"quantity": ', 400, "invalid_json", None),
    "no body": ("PUT", LINE, b"", 422, "invalid_input", None),
    "oversized body": ("POST", "/checkouts", b'"' + b"x" * 1024 * 1024 + b'"', 413, "body_too_large", None),
    "checkout field": ("POST", "/checkouts", {**CHECKOUT, "discount": 1}, 422, "invalid_input", "discount"),
    "checkout address": ("POST", "/checkouts", {**CHECKOUT, "address_id": "home"}, 422, "invalid_input", "address_id"),
    "no payment": ("POST", "/checkouts", without(CHECKOUT, "payment_token"), 422, "invalid_input", "payment_token"),
    "grant type": ("POST", "/tokens", {**SIGN_IN, "grant_type": "magic"}, 422, "invalid_input", None),
    "short password": ("POST", "/accounts", {**REGISTER, "password": "x"}, 422, "invalid_input", "password"),
    "mail": ("POST", "/accounts", {**REGISTER, "email": "ada"}, 422, "invalid_input", "email"),
    "roles": ("POST", "/accounts", {**REGISTER, "roles": ["operator"]}, 422, "invalid_input", "roles"),
    "country": ("POST", "/me/addresses", {**HOME, "country": "Germany"}, 422, "invalid_input", "country"),
    "limit": ("GET", "/products?limit=0", None, 422, "invalid_input", "limit"),
    "search": ("GET", "/products?q=%00", None, 422, "invalid_input", "q"),
    "cursor": ("GET", "/products?cursor=nonsense", None, 422, "invalid_cursor", "cursor"),
    "order cursor": ("GET", "/orders?cursor=WyJ4Il0", None, 422, "invalid_cursor", "cursor"),
    "order no id": ("GET", "/orders/17", None, 422, "invalid_input", "order_id"),
    "unknown product": ("GET", f"/products/{ID}", None, 404, "product_not_found", None),
    "unknown path": ("GET", "/nothing", None, 404, "not_found", None),
    "unknown method": ("DELETE", "/products", None, 405, "method_not_allowed", None),
}


@pytest.mark.parametrize(("method", "path", "body", "status", "code", "field"), BAD_INPUT.values(), ids=BAD_INPUT)
async def test_bad_input_has_its_code_and_changes_nothing(
    shop: Shop, method: str, path: str, body: Any, status: int, code: str, field: str | None
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    async with shop.as_ada() as client:
        headers = {"Idempotency-Key": "once", "content-type": "application/json"}
        response = await client.request(method, API + path, content=content, headers=headers)
    told = response.json()
    assert (response.status_code, told["status"], told["code"]) == (status, status, code)
    assert response.headers["content-type"] == "application/problem+json"
    if field is not None:
        assert field in [error["field"].split(".")[-1] for error in told["errors"]]
    assert [*shop.user.seen, *shop.product.seen, *shop.order.seen] == []


async def test_a_checkout_needs_an_idempotency_key(shop: Shop) -> None:
    async with shop.as_ada() as client:
        response = await client.post(f"{API}/checkouts", json=CHECKOUT)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "Idempotency-Key")
    assert shop.order.seen == []


BAD_TOKENS = {
    "none": None,
    "malformed": "a.b.c",
    "expired": token(ADA, "customer", expires_in=-1),
    "of another key": token(ADA, "customer", key=OKPKey.generate_key("Ed25519", {"kid": "test"}, private=True)),
}


@pytest.mark.parametrize("raw", BAD_TOKENS.values(), ids=BAD_TOKENS)
async def test_without_a_good_token_only_the_catalogue_is_open(shop: Shop, raw: str | None) -> None:
    event = changed()
    await shop.aggregator.send(event)
    shop.product.answers["GET", "/stock"] = (200, [])
    for owner, method, path, _, status, answer in DELEGATED:
        getattr(shop, owner).answers[method, path] = (status, answer)
    async with shop.aggregator.client(raw) as client:
        for path in ("/products", f"/products/{event.product_id}", "/categories", "/openapi.json"):
            assert (await client.get(API + path)).status_code == 200
        for _, method, path, body, status, _ in DELEGATED:
            expected = status if path in ("/accounts", "/tokens") else 401
            headers = {"Idempotency-Key": "once"}
            answered = await client.request(method, API + path, json=body, headers=headers)
            assert (answered.status_code, method, path) == (expected, method, path)
        for path in ("/orders", f"/orders/{ID}"):
            assert (await client.get(API + path)).json()["code"] == "unauthenticated"
    assert shop.order.seen == []


async def test_the_api_describes_itself(shop: Shop) -> None:
    described = await shop.get("/openapi.json")
    assert described["openapi"].startswith("3.1")
    operations = {
        (method.upper(), path.removeprefix(API)): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    open_to_all = {key for key, operation in operations.items() if not operation.get("security")}
    assert open_to_all == {
        ("POST", "/accounts"),
        ("POST", "/tokens"),
        ("GET", "/products"),
        ("GET", "/products/{product_id}"),
        ("GET", "/categories"),
    }
    assert len(operations) == 14
    assert all("default" in operation["responses"] for operation in operations.values())


async def test_an_order_that_was_never_announced_leaves_no_row(shop: Shop) -> None:
    fresh = order_state(OrderPlaced, 1, new_id())
    shop.order.answers["GET", f"/orders/{fresh.order_id}"] = (200, view_of(fresh))
    await shop.get(f"/orders/{fresh.order_id}")
    assert await shop.aggregator.rows(Order) == []
