"""Rebuilding the read models: while events arrive and the old generation is read, and after a kill -9 half-way."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from aggregator.main import service
from aggregator.models import Generation, GenerationState, OrderReadModel, ProductReadModel, RebuildStage
from chassis.database import new_id
from chassis.process.ports import reserve_port
from chassis.testing import SERVICE_KEY, empty_database
from contracts.order import (
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderEvent,
    OrderPlaced,
    OrderReserved,
    OrderShipped,
)
from contracts.product import ProductChanged
from ledger.fakes import FakeService, ReceivedRequest, Reply, serving
from local.valkey import Valkey

from .conftest import Harness, changed, commanded, life, order_state, owned_step, step_of, view_of

PATH: list[type[OrderEvent]] = [OrderPlaced, OrderReserved, OrderConfirmed, OrderShipped, OrderDelivered]


@dataclass
class FakeOwners:
    """Product and order with their exports. `meanwhile` runs between the reading of a page and its answer."""

    products: dict[UUID, ProductChanged] = field(default_factory=dict)
    orders: dict[UUID, list[OrderEvent]] = field(default_factory=dict)
    meanwhile: Callable[[str, int], Awaitable[None]] | None = None
    pages: int = 0

    def store(self, *events: ProductChanged | OrderEvent) -> None:
        for event in events:
            if isinstance(event, ProductChanged):
                self.products[event.product_id] = event
            else:
                self.orders.setdefault(event.order_id, []).append(event)

    def serve(self, product: FakeService, order: FakeService) -> None:
        product.answers["GET", "/exports/products"] = self._export_products
        order.answers["GET", "/exports/orders"] = self._export_orders

    async def _export_products(self, request: ReceivedRequest) -> Reply:
        sold = {id: event for id, event in self.products.items() if not event.withdrawn}
        return await self._page(request, sold, lambda event: {"id": str(event.product_id), **view_of(event)})

    async def _export_orders(self, request: ReceivedRequest) -> Reply:
        return await self._page(request, self.orders, exported)

    async def _page(self, request: ReceivedRequest, stored: dict[UUID, Any], show: Callable[[Any], Any]) -> Reply:
        limit = int(request.query["limit"])
        after = sorted(str(id) for id in stored if str(id) > request.query.get("cursor", ""))
        page = {
            "items": [show(stored[UUID(id)]) for id in after[:limit]],
            "next_cursor": after[limit - 1] if len(after) > limit else None,
        }
        self.pages += 1
        if self.meanwhile is not None:
            await self.meanwhile(request.path, self.pages)
        return 200, page

    def expected(self) -> tuple[dict[UUID, Any], dict[UUID, Any]]:
        """What the read models have to contain: the newest state and every step."""
        products = {id: (it.version, it.name, it.price_cents) for id, it in self.products.items() if not it.withdrawn}
        return products, {id: (view_of(it[-1]), [step_of(one) for one in it]) for id, it in self.orders.items()}


def exported(events: list[OrderEvent]) -> dict[str, Any]:
    return {"order": view_of(events[-1]), "steps": [owned_step(event) for event in events]}


async def shown(harness: Harness) -> tuple[dict[UUID, Any], dict[UUID, Any]]:
    """The rows of the active generation, in the form of `expected`."""
    (active,) = [it.id for it in await harness.aggregator.rows(Generation) if it.state == GenerationState.ACTIVE]
    products = [
        it for it in await harness.aggregator.rows(ProductReadModel) if it.generation == active and not it.withdrawn
    ]
    orders = [it for it in await harness.aggregator.rows(OrderReadModel) if it.generation == active]
    return (
        {it.id: (it.version, it.name, it.price_cents) for it in products},
        {it.order_id: (view_of(OrderPlaced.model_validate(it, from_attributes=True)), it.steps) for it in orders},
    )


async def rebuild(harness: Harness) -> Any:
    async with harness.with_role("operator") as client:
        begun = await client.post("/rebuilds")
        assert begun.status_code == 202, begun.text
        await harness.aggregator.settled()
        answer = await client.get("/rebuilds/current")
    assert (answer.json()["generation"], answer.json()["stage"]) == (begun.json()["generation"], "done")
    return answer.json()


async def test_a_rebuild_repairs_lost_wrong_and_invented_rows(harness: Harness) -> None:
    owners = FakeOwners()
    owners.serve(harness.product, harness.order)
    products = [changed(name=f"Tea {number}") for number in range(120)]
    lives = [life(new_id(), *PATH[: 1 + number % 5]) for number in range(130)]
    events = [event for order in lives for event in order]
    owners.store(*products, *events)
    await harness.aggregator.send(*products, *events)
    await harness.aggregator.send(changed(name="Invented"), *life(new_id(), *PATH))
    async with harness.aggregator.instance.database.work() as work:
        await work.execute("DELETE FROM orders WHERE order_id = $1", lives[0][0].order_id)
        await work.execute("UPDATE orders SET total_cents = 0, version = 1000, steps = '[]' WHERE status = 'shipped'")
        await work.execute("DELETE FROM products WHERE name LIKE 'Tea 1%'")
    assert await shown(harness) != owners.expected()
    done = await rebuild(harness)
    assert await shown(harness) == owners.expected()
    assert (done["stage"], done["products"], done["orders"]) == ("done", 120, 130)
    assert done["completed_at"] is not None
    assert {it.generation for it in await harness.aggregator.rows(OrderReadModel)} == {2}
    assert {it.generation for it in await harness.aggregator.rows(ProductReadModel)} == {2}
    assert done["removed"] > 0


async def test_the_old_generation_is_read_until_the_new_one_is_complete(harness: Harness, valkey: Valkey) -> None:
    owners, reached, go_on = FakeOwners(), asyncio.Event(), asyncio.Event()
    owners.serve(harness.product, harness.order)
    right, wrong = changed(name="Right"), changed(name="Wrong")
    order = life(new_id(), OrderPlaced, OrderReserved)
    owners.store(right, *order)
    await harness.aggregator.send(wrong, *order)

    async def wait(path: str, _: int) -> None:
        if path == "/exports/orders":
            reached.set()
            await go_on.wait()

    owners.meanwhile = wait
    async with harness.with_role("operator") as client:
        first = (await client.post("/rebuilds")).json()
        await asyncio.wait_for(reached.wait(), 10)
        assert (await client.post("/rebuilds")).json()["generation"] == first["generation"]
        assert (await client.get("/rebuilds/current")).json()["stage"] == "orders"
        assert [it["name"] for it in (await harness.get("/products"))["items"]] == ["Wrong"]
        assert (await harness.get(f"/orders/{order[0].order_id}"))["version"] == 2
        assert len((await harness.get("/orders"))["items"]) == 1
        go_on.set()
        await harness.aggregator.settled()
        await commanded(valkey, "FLUSHALL")
    assert [it["name"] for it in (await harness.get("/products"))["items"]] == ["Right"]
    assert len((await harness.get("/orders"))["items"]) == 1


async def test_a_rebuild_while_events_arrive_equals_the_owners_data(harness: Harness) -> None:
    """While a page is read and written, events arrive: of orders on it, before it and after it, and of new orders."""
    owners = FakeOwners()
    owners.serve(harness.product, harness.order)
    products = [changed(name=f"Tea {number}") for number in range(150)]
    lives = [life(new_id(), *PATH) for _ in range(250)]
    owners.store(*products, *(it[0] for it in lives))
    await harness.aggregator.send(*products, *(it[0] for it in lives))

    async def sell(path: str, page: int) -> None:
        moved = [it[page] for it in lives[:: 1 + page] if len(owners.orders[it[0].order_id]) == page]
        new = life(new_id(), OrderPlaced, OrderCancelled)
        dearer = [changed(it.product_id, page + 1, price_cents=page, withdrawn=page == 3) for it in products[::50]]
        owners.store(*moved, *new, *dearer)
        events = [*moved, *new, *dearer, *moved[:3]]
        await harness.aggregator.broker.publish([harness.aggregator.envelope(event) for event in events])

    owners.meanwhile = lambda path, page: sell(path, page) if page < 5 else asyncio.sleep(0)
    before = await shown(harness)
    done = await rebuild(harness)
    assert await shown(harness) == owners.expected() != before
    assert done["orders"] >= 250
    assert {it.generation for it in await harness.aggregator.rows(OrderReadModel)} == {2}


async def test_a_rebuild_can_follow_another(harness: Harness) -> None:
    owners = FakeOwners()
    owners.serve(harness.product, harness.order)
    order = order_state(OrderPlaced, 1, new_id())
    owners.store(order)
    assert [(await rebuild(harness))["generation"] for _ in range(2)] == [2, 3]
    assert await shown(harness) == owners.expected()
    assert [(it.id, it.state) for it in await harness.aggregator.rows(Generation)] == [(3, GenerationState.ACTIVE)]


@pytest.mark.parametrize("role", ["customer", "staff"])
async def test_only_operators_rebuild(harness: Harness, role: str) -> None:
    async with harness.with_role(role) as client:
        assert (await client.post("/rebuilds")).status_code == 403
        assert (await client.get("/rebuilds/current")).status_code == 403


async def test_before_the_first_rebuild_there_is_no_progress(harness: Harness) -> None:
    async with harness.with_role("operator") as client:
        assert (await client.get("/rebuilds/current")).json()["code"] == "rebuild_not_found"


@dataclass
class ConsumerProcess:
    """A consumer in a process of its own, on a database in which a rebuild is due."""

    url: str
    database: "asyncpg.Connection[Any]"
    environment: dict[str, str]

    async def start(self) -> asyncio.subprocess.Process:
        command = [sys.executable, "-c", "from chassis.process.run import main; main()", "aggregator", "consumer"]
        environment = self.environment | {"PORT": str(reserve_port())}
        return await asyncio.create_subprocess_exec(*command, env=environment)

    async def rebuild(self) -> asyncpg.Record:
        (row,) = await self.database.fetch("SELECT * FROM rebuilds")
        return cast(asyncpg.Record, row)


@pytest.fixture
async def consumer() -> AsyncIterator[ConsumerProcess]:
    database = await asyncpg.connect(url := await empty_database(service))
    await database.execute("INSERT INTO generations VALUES (1, 'active'), (2, 'building')")
    await database.execute(
        "INSERT INTO rebuilds (generation, stage, products, orders, removed, started_at, due_at)"
        " VALUES (2, 'products', 0, 0, 0, now(), now())"
    )
    environment = os.environ | {"DATABASE_URL": url, "SERVICE_KEY": SERVICE_KEY, "BROKER": "memory"}
    yield ConsumerProcess(url, database, environment)
    await database.close()


async def test_a_rebuild_killed_half_way_continues_where_it_was(consumer: ConsumerProcess) -> None:
    owners, product, order, halted = FakeOwners(), FakeService(), FakeService(), asyncio.Event()
    owners.store(changed(), *(order_state(OrderPlaced, 1, new_id()) for _ in range(450)))
    owners.serve(product, order)
    for name, owner in (("PRODUCT", product), ("ORDER", order)):
        consumer.environment[f"{name}_URL"] = owner.url

    async def halt(_: str, page: int) -> None:
        if page == 4:
            halted.set()
            await asyncio.Event().wait()

    owners.meanwhile = halt
    async with serving(product, order), asyncio.timeout(60):
        first = await consumer.start()
        await halted.wait()
        first.kill()
        await first.wait()
        half = await consumer.rebuild()
        assert (half["stage"], half["products"], half["orders"]) == (RebuildStage.ORDERS, 1, 200)
        owners.meanwhile = None
        await consumer.database.execute("UPDATE rebuilds SET due_at = now()")  # its lease has ended
        second = await consumer.start()
        while not (done := await consumer.rebuild())["completed_at"]:  # noqa: ASYNC110  # another process does it
            await asyncio.sleep(0.05)
        second.terminate()
        assert await second.wait() == 0
    assert (done["orders"], done["products"], owners.pages) == (450, 1, 7)
    assert await consumer.database.fetchval("SELECT count(*) FROM orders WHERE generation = 2") == 450
    assert await consumer.database.fetchval("SELECT id FROM generations") == 2
