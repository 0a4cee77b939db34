"""Orders from events, and from their owner where those are still on the way."""

import pytest

from aggregator.models import Order
from chassis.tables import new_id
from chassis.testing import free_port
from contracts.order import (
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderPlaced,
    OrderReserved,
    OrderShipped,
)

from .conftest import API, Shop, order_state, problem, view_of


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


async def test_an_order_that_was_never_announced_leaves_no_row(shop: Shop) -> None:
    fresh = order_state(OrderPlaced, 1, new_id())
    shop.order.answers["GET", f"/orders/{fresh.order_id}"] = (200, view_of(fresh))
    await shop.get(f"/orders/{fresh.order_id}")
    assert await shop.aggregator.rows(Order) == []
