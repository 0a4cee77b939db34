"""Read models built anew, while events flow and the old ones serve, and after a kill -9 half way."""

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
from chassis.tables import new_id
from chassis.testing import SERVICE_KEY, empty_database, free_port
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

from .conftest import Answer, Peer, Seen, Shop, changed, life, order_state, owned_step, serving, step_of, view_of

PATH: list[type[OrderEvent]] = [OrderPlaced, OrderReserved, OrderConfirmed, OrderShipped, OrderDelivered]


@dataclass
class Owners:
    """What product and order know, and how they export it. `meanwhile` runs between reading a page and sending it."""

    products: dict[UUID, ProductChanged] = field(default_factory=dict)
    orders: dict[UUID, list[OrderEvent]] = field(default_factory=dict)
    meanwhile: Callable[[str, int], Awaitable[None]] | None = None
    pages: int = 0

    def know(self, *events: ProductChanged | OrderEvent) -> None:
        for event in events:
            if isinstance(event, ProductChanged):
                self.products[event.product_id] = event
            else:
                self.orders.setdefault(event.order_id, []).append(event)

    def serve(self, product: Peer, order: Peer) -> None:
        product.answers["GET", "/exports/products"] = self._export_products
        order.answers["GET", "/exports/orders"] = self._export_orders

    async def _export_products(self, seen: Seen) -> Answer:
        sold = {id: event for id, event in self.products.items() if not event.withdrawn}
        return await self._page(seen, sold, lambda event: {"id": str(event.product_id), **view_of(event)})

    async def _export_orders(self, seen: Seen) -> Answer:
        return await self._page(seen, self.orders, exported)

    async def _page(self, seen: Seen, known: dict[UUID, Any], show: Callable[[Any], Any]) -> Answer:
        limit = int(seen.query["limit"])
        after = sorted(str(id) for id in known if str(id) > seen.query.get("cursor", ""))
        page = {
            "items": [show(known[UUID(id)]) for id in after[:limit]],
            "next_cursor": after[limit - 1] if len(after) > limit else None,
        }
        self.pages += 1
        if self.meanwhile is not None:
            await self.meanwhile(seen.path, self.pages)
        return 200, page

    def expected(self) -> tuple[dict[UUID, Any], dict[UUID, Any]]:
        """What the read models have to show: the newest state and every step."""
        products = {id: (it.version, it.name, it.price_cents) for id, it in self.products.items() if not it.withdrawn}
        return products, {id: (view_of(it[-1]), [step_of(one) for one in it]) for id, it in self.orders.items()}


def exported(events: list[OrderEvent]) -> dict[str, Any]:
    return {"order": view_of(events[-1]), "steps": [owned_step(event) for event in events]}


async def shown(shop: Shop) -> tuple[dict[UUID, Any], dict[UUID, Any]]:
    """The rows of the generation that serves, in the form of `expected`."""
    (serving,) = [it.id for it in await shop.aggregator.rows(Generation) if it.state == GenerationState.ACTIVE]
    products = [
        it for it in await shop.aggregator.rows(ProductReadModel) if it.generation == serving and not it.withdrawn
    ]
    orders = [it for it in await shop.aggregator.rows(OrderReadModel) if it.generation == serving]
    return (
        {it.id: (it.version, it.name, it.price_cents) for it in products},
        {it.order_id: (view_of(OrderPlaced.model_validate(it, from_attributes=True)), it.steps) for it in orders},
    )


async def rebuild(shop: Shop) -> Any:
    async with shop.aggregator.as_staff() as client:
        begun = await client.post("/rebuilds")
        assert begun.status_code == 202, begun.text
        await shop.aggregator.settled()
        answer = await client.get("/rebuilds/current")
    assert (answer.json()["generation"], answer.json()["stage"]) == (begun.json()["generation"], "done")
    return answer.json()


async def test_what_was_lost_spoilt_or_made_up_is_right_again(shop: Shop) -> None:
    owners = Owners()
    owners.serve(shop.product, shop.order)
    products = [changed(name=f"Tea {number}") for number in range(120)]
    lives = [life(new_id(), *PATH[: 1 + number % 5]) for number in range(130)]
    events = [event for order in lives for event in order]
    owners.know(*products, *events)
    await shop.aggregator.send(*products, *events)
    await shop.aggregator.send(changed(name="Made up"), *life(new_id(), *PATH))
    async with shop.aggregator.instance.database.work() as work:
        await work.execute("DELETE FROM orders WHERE order_id = $1", lives[0][0].order_id)
        await work.execute("UPDATE orders SET total_cents = 0, version = 1000, steps = '[]' WHERE status = 'shipped'")
        await work.execute("DELETE FROM products WHERE name LIKE 'Tea 1%'")
    assert await shown(shop) != owners.expected()
    done = await rebuild(shop)
    assert await shown(shop) == owners.expected()
    assert (done["stage"], done["products"], done["orders"]) == ("done", 120, 130)
    assert done["done_at"] is not None
    assert {it.generation for it in await shop.aggregator.rows(OrderReadModel)} == {2}
    assert {it.generation for it in await shop.aggregator.rows(ProductReadModel)} == {2}
    assert done["removed"] > 0


async def test_the_old_serve_until_the_new_ones_are_complete(shop: Shop) -> None:
    owners, reached, go_on = Owners(), asyncio.Event(), asyncio.Event()
    owners.serve(shop.product, shop.order)
    right, wrong = changed(name="Right"), changed(name="Wrong")
    order = life(new_id(), OrderPlaced, OrderReserved)
    owners.know(right, *order)
    await shop.aggregator.send(wrong, *order)

    async def wait(path: str, _: int) -> None:
        if path == "/exports/orders":
            reached.set()
            await go_on.wait()

    owners.meanwhile = wait
    async with shop.aggregator.as_staff() as client:
        first = (await client.post("/rebuilds")).json()
        await asyncio.wait_for(reached.wait(), 10)
        assert (await client.post("/rebuilds")).json()["generation"] == first["generation"]
        assert (await client.get("/rebuilds/current")).json()["stage"] == "orders"
        assert [it["name"] for it in (await shop.get("/products"))["items"]] == ["Wrong"]
        assert (await shop.get(f"/orders/{order[0].order_id}"))["version"] == 2
        assert len((await shop.get("/orders"))["items"]) == 1
        go_on.set()
        await shop.aggregator.settled()
        await asyncio.sleep(1.2)  # what the cache keeps
    assert [it["name"] for it in (await shop.get("/products"))["items"]] == ["Right"]
    assert len((await shop.get("/orders"))["items"]) == 1


async def test_a_rebuild_while_events_flow_equals_a_fresh_fold(shop: Shop) -> None:
    """Events arrive between the reading of a page and its keeping: of orders on it, before it, after it and new."""
    owners = Owners()
    owners.serve(shop.product, shop.order)
    products = [changed(name=f"Tea {number}") for number in range(150)]
    lives = [life(new_id(), *PATH) for _ in range(250)]
    owners.know(*products, *(it[0] for it in lives))
    await shop.aggregator.send(*products, *(it[0] for it in lives))

    async def sell(path: str, page: int) -> None:
        moved = [it[page] for it in lives[:: 1 + page] if len(owners.orders[it[0].order_id]) == page]
        new = life(new_id(), OrderPlaced, OrderCancelled)
        dearer = [changed(it.product_id, page + 1, price_cents=page, withdrawn=page == 3) for it in products[::50]]
        owners.know(*moved, *new, *dearer)
        events = [*moved, *new, *dearer, *moved[:3]]
        await shop.aggregator.broker.publish([shop.aggregator.envelope(event) for event in events])

    owners.meanwhile = lambda path, page: sell(path, page) if page < 5 else asyncio.sleep(0)
    before = await shown(shop)
    done = await rebuild(shop)
    assert await shown(shop) == owners.expected() != before
    assert done["orders"] >= 250
    assert {it.generation for it in await shop.aggregator.rows(OrderReadModel)} == {2}


async def test_a_second_rebuild_is_as_good_as_the_first(shop: Shop) -> None:
    owners = Owners()
    owners.serve(shop.product, shop.order)
    order = order_state(OrderPlaced, 1, new_id())
    owners.know(order)
    assert [(await rebuild(shop))["generation"] for _ in range(2)] == [2, 3]
    assert await shown(shop) == owners.expected()
    assert [(it.id, it.state) for it in await shop.aggregator.rows(Generation)] == [(3, GenerationState.ACTIVE)]


async def test_only_operators_rebuild(shop: Shop) -> None:
    async with shop.as_ada() as client:
        assert (await client.post("/rebuilds")).status_code == 403
        assert (await client.get("/rebuilds/current")).status_code == 403
    async with shop.aggregator.as_staff() as client:
        assert (await client.get("/rebuilds/current")).json()["code"] == "rebuild_not_found"


@dataclass
class Killable:
    """A consumer in a process of its own, on a database that has a rebuild to do."""

    url: str
    database: "asyncpg.Connection[Any]"
    environment: dict[str, str]

    async def start(self) -> asyncio.subprocess.Process:
        command = [sys.executable, "-c", "from chassis.run import main; main()", "aggregator", "consumer"]
        environment = self.environment | {"PORT": str(free_port())}
        return await asyncio.create_subprocess_exec(*command, env=environment)

    async def rebuild(self) -> asyncpg.Record:
        (row,) = await self.database.fetch("SELECT * FROM rebuilds")
        return cast(asyncpg.Record, row)


@pytest.fixture
async def consumer() -> AsyncIterator[Killable]:
    database = await asyncpg.connect(url := await empty_database(service))
    await database.execute("INSERT INTO generations VALUES (1, 'active'), (2, 'building')")
    await database.execute(
        "INSERT INTO rebuilds (generation, stage, products, orders, removed, started_at, due_at)"
        " VALUES (2, 'products', 0, 0, 0, now(), now())"
    )
    environment = os.environ | {"DATABASE_URL": url, "SERVICE_KEY": SERVICE_KEY, "BROKER": "memory"}
    yield Killable(url, database, environment)
    await database.close()


async def test_a_rebuild_killed_half_way_goes_on_where_it_was(consumer: Killable) -> None:
    owners, product, order, halted = Owners(), Peer(), Peer(), asyncio.Event()
    owners.know(changed(), *(order_state(OrderPlaced, 1, new_id()) for _ in range(450)))
    owners.serve(product, order)
    for name, peer in (("PRODUCT", product), ("ORDER", order)):
        consumer.environment[f"{name}_URL"] = f"http://127.0.0.1:{peer.port}"

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
        while not (done := await consumer.rebuild())["done_at"]:  # noqa: ASYNC110  # another process does it
            await asyncio.sleep(0.05)
        second.terminate()
        assert await second.wait() == 0
    assert (done["orders"], done["products"], owners.pages) == (450, 1, 7)
    assert await consumer.database.fetchval("SELECT count(*) FROM orders WHERE generation = 2") == 450
    assert await consumer.database.fetchval("SELECT id FROM generations") == 2
