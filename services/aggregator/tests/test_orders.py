"""Orders from events, and from their owner where those are still on the way."""

import pytest

from aggregator.models import OrderReadModel
from chassis.tables import new_id
from chassis.testing import free_port
from contracts.order import (
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderEvent,
    OrderPlaced,
    OrderReserved,
    OrderShipped,
)
from contracts.user import ReportErasure, UserErased

from .conftest import ADA, API, Shop, life, order_state, owned_step, problem, step_of, view_of


def know(shop: Shop, *events: OrderEvent) -> None:
    """The owner of orders knows of an order what was announced, or is about to be."""
    path = f"/orders/{events[-1].order_id}"
    shop.order.answers["GET", path] = (200, view_of(events[-1]))
    shop.order.answers["GET", f"{path}/history"] = (200, [owned_step(event) for event in events])


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
async def test_an_order_shows_its_newest_status(shop: Shop, together: bool) -> None:
    """Whether its events come in order, late, early or twice."""
    id = new_id()
    events = life(id, OrderPlaced, OrderReserved, OrderConfirmed, OrderShipped, OrderDelivered)
    mixed = [events[2], events[0], events[2], events[4], events[3], events[1], events[4]]
    if together:
        await shop.aggregator.send(*mixed)
    else:
        for event in mixed:
            await shop.aggregator.send(event)
    steps = [step_of(event) for event in events]
    assert await shop.get(f"/orders/{id}") == view_of(events[4]) | {"steps": steps, "partial": []}
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
    know(shop, fresh)
    async with shop.as_ada() as client:
        shown = (await client.get(f"{API}/orders/{fresh.order_id}")).json()
        assert shop.order.seen[0].headers["authorization"] == client.headers["authorization"]
    assert shown == view_of(fresh) | {"steps": [step_of(fresh)], "partial": []}


async def test_nobody_sees_an_order_go_back(shop: Shop) -> None:
    """Who has seen version 2 elsewhere is not shown version 1, unless nobody can be asked: then it is said."""
    id = new_id()
    old, new = order_state(OrderPlaced, 1, id), order_state(OrderCancelled, 2, id)
    await shop.aggregator.send(old)
    know(shop, old, new)
    assert (await shop.get(f"/orders/{id}", version=1))["status"] == "placed"
    shown = await shop.get(f"/orders/{id}", version=2)
    assert (shown["status"], shown["steps"]) == ("cancelled", [step_of(old), step_of(new)])
    shop.order.answers["GET", f"/orders/{id}"] = (503, problem(503, "unavailable"))
    assert await shop.get(f"/orders/{id}", version=2) == view_of(old) | {
        "steps": [step_of(old)],
        "partial": ["status"],
    }


async def test_what_is_known_is_shown_while_order_is_away(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    id = new_id()
    await shop.aggregator.send(order_state(OrderPlaced, 1, id))
    monkeypatch.setenv("ORDER_URL", f"http://127.0.0.1:{free_port()}")
    assert (await shop.get(f"/orders/{id}"))["status"] == "placed"
    assert len((await shop.get("/orders"))["items"]) == 1
    for path in (f"/orders/{new_id()}", "/cart"):
        assert (await shop.get(path, 503))["code"] == "unavailable"


async def test_an_erasure_finds_nothing_personal_here(shop: Shop) -> None:
    """An order keeps the id of its customer, which leads to nobody."""
    await shop.aggregator.send(order_state(OrderPlaced, 1, new_id()))
    erased = UserErased(user_id=ADA, erasure_id=new_id())
    await shop.aggregator.send(erased)
    assert await shop.aggregator.sent() == [
        ReportErasure(user_id=ADA, erasure_id=erased.erasure_id, service="aggregator", rows=0)
    ]
    assert [row.customer_id for row in await shop.aggregator.rows(OrderReadModel)] == [ADA]


async def test_staff_sees_every_order(shop: Shop) -> None:
    placed = order_state(OrderPlaced, 1, new_id(), customer=new_id())
    await shop.aggregator.send(placed)
    async with shop.aggregator.as_staff() as client:
        assert (await client.get(f"{API}/orders/{placed.order_id}")).json()["version"] == 1


async def test_an_order_that_was_never_announced_leaves_no_row(shop: Shop) -> None:
    fresh = order_state(OrderPlaced, 1, new_id())
    know(shop, fresh)
    await shop.get(f"/orders/{fresh.order_id}")
    assert await shop.aggregator.rows(OrderReadModel) == []
