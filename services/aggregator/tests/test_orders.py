"""Orders from events, and from the order service while an event is still on its way."""

import pytest

from aggregator.models import OrderReadModel
from chassis.database import new_id
from chassis.process.ports import reserve_port
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
from ledger.fakes import problem

from .conftest import ADA, API, Harness, life, order_state, owned_step, step_of, view_of


def answer_as_owner(harness: Harness, *events: OrderEvent) -> None:
    """The order service has the order in the state of these events, whether they have been published or not."""
    path = f"/orders/{events[-1].order_id}"
    harness.order.answers["GET", path] = (200, view_of(events[-1]))
    harness.order.answers["GET", f"{path}/history"] = (200, [owned_step(event) for event in events])


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
async def test_an_order_shows_its_newest_status(harness: Harness, together: bool) -> None:
    """Whether its events arrive in order, late, early or twice."""
    id = new_id()
    events = life(id, OrderPlaced, OrderReserved, OrderConfirmed, OrderShipped, OrderDelivered)
    mixed = [events[2], events[0], events[2], events[4], events[3], events[1], events[4]]
    if together:
        await harness.aggregator.send(*mixed)
    else:
        for event in mixed:
            await harness.aggregator.send(event)
    steps = [step_of(event) for event in events]
    assert await harness.get(f"/orders/{id}") == view_of(events[4]) | {"steps": steps, "partial": []}
    assert (await harness.get("/orders"))["items"] == [view_of(events[4])]
    assert harness.order.requests == []


async def test_orders_are_listed_to_their_customer_only_the_newest_first(harness: Harness) -> None:
    ids, others = [new_id() for _ in range(25)], [new_id() for _ in range(5)]
    await harness.aggregator.send(*[order_state(OrderPlaced, 1, id) for id in ids])
    await harness.aggregator.send(*[order_state(OrderPlaced, 1, id, customer=new_id()) for id in others])
    first = await harness.get("/orders", limit=20)
    rest = await harness.get("/orders", limit=20, cursor=first["next_cursor"])
    assert [it["order_id"] for it in first["items"] + rest["items"]] == [str(id) for id in reversed(ids)]
    assert rest["next_cursor"] is None


async def test_another_customers_order_does_not_exist(harness: Harness) -> None:
    known, unknown = new_id(), new_id()
    await harness.aggregator.send(order_state(OrderPlaced, 1, known, customer=new_id()))
    harness.order.answers["GET", f"/orders/{unknown}"] = (404, problem(404, "order_not_found"))
    for id in (known, unknown):
        assert (await harness.get(f"/orders/{id}", 404))["code"] == "order_not_found"


async def test_an_order_is_visible_at_once_to_the_customer_who_placed_it(harness: Harness) -> None:
    """While its event is on the way, the order service is asked with the caller's token."""
    fresh = order_state(OrderPlaced, 1, new_id())
    answer_as_owner(harness, fresh)
    async with harness.as_ada() as client:
        shown = (await client.get(f"{API}/orders/{fresh.order_id}")).json()
        assert harness.order.requests[0].headers["authorization"] == client.headers["authorization"]
    assert shown == view_of(fresh) | {"steps": [step_of(fresh)], "partial": []}


async def test_an_order_never_goes_back_to_an_older_version(harness: Harness) -> None:
    """A client that has seen version 2 gets version 1 only while the order service is down, marked as partial."""
    id = new_id()
    old, new = order_state(OrderPlaced, 1, id), order_state(OrderCancelled, 2, id)
    await harness.aggregator.send(old)
    answer_as_owner(harness, old, new)
    assert (await harness.get(f"/orders/{id}", version=1))["status"] == "placed"
    shown = await harness.get(f"/orders/{id}", version=2)
    assert (shown["status"], shown["steps"]) == ("cancelled", [step_of(old), step_of(new)])
    harness.order.answers["GET", f"/orders/{id}"] = (503, problem(503, "unavailable"))
    assert await harness.get(f"/orders/{id}", version=2) == view_of(old) | {
        "steps": [step_of(old)],
        "partial": ["status"],
    }


async def test_known_orders_are_shown_while_the_order_service_is_down(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = new_id()
    await harness.aggregator.send(order_state(OrderPlaced, 1, id))
    monkeypatch.setenv("ORDER_URL", f"http://127.0.0.1:{reserve_port()}")
    assert (await harness.get(f"/orders/{id}"))["status"] == "placed"
    assert len((await harness.get("/orders"))["items"]) == 1
    for path in (f"/orders/{new_id()}", "/cart"):
        assert (await harness.get(path, 503))["code"] == "unavailable"


async def test_an_erasure_finds_no_personal_data(harness: Harness) -> None:
    """An order keeps the id of its customer, whose account is gone."""
    await harness.aggregator.send(order_state(OrderPlaced, 1, new_id()))
    erased = UserErased(user_id=ADA, erasure_id=new_id())
    await harness.aggregator.send(erased)
    assert await harness.aggregator.sent() == [
        ReportErasure(user_id=ADA, erasure_id=erased.erasure_id, service="aggregator", rows=0)
    ]
    assert [row.customer_id for row in await harness.aggregator.rows(OrderReadModel)] == [ADA]


@pytest.mark.parametrize(("role", "status"), [("customer", 404), ("operator", 404), ("staff", 200), ("service", 200)])
async def test_only_staff_and_services_see_the_orders_of_others(harness: Harness, role: str, status: int) -> None:
    placed = order_state(OrderPlaced, 1, new_id())
    await harness.aggregator.send(placed)
    async with harness.with_role(role) as client:
        for path in (f"{API}/orders/{placed.order_id}", f"{API}/orders/{placed.order_id}/stream"):
            async with client.stream("GET", path) as response:
                assert response.status_code == status


async def test_an_order_read_from_its_owner_leaves_no_row(harness: Harness) -> None:
    fresh = order_state(OrderPlaced, 1, new_id())
    answer_as_owner(harness, fresh)
    await harness.get(f"/orders/{fresh.order_id}")
    assert await harness.aggregator.rows(OrderReadModel) == []
