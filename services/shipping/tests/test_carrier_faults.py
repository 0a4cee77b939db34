"""Shipping while the carrier has faults: at each call, at all calls, and of all kinds at the same time."""

import httpx
import pytest

from chassis.database import new_id
from chassis.resilience import CircuitBreaker
from chassis.testing import Launched
from contracts.shipping import (
    CancelShipment,
    ShipmentCancelled,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentLost,
    ShipmentRejected,
)
from ledger.fakes import FakeUserService
from shipping import handlers
from shipping.models import Shipment

from .steps import announced, at_the_carrier, check_parcels, create, send, wait_for_events

FAULTS = ["unavailable", "breaks", "slow", "late"]


@pytest.fixture
def short_poll_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll the carrier after fractions of a second instead of minutes."""
    monkeypatch.setattr(handlers, "FIRST_POLL_SECONDS", 0.1)
    monkeypatch.setattr(handlers, "MOST_POLL_SECONDS", 1)


@pytest.mark.usefixtures("short_poll_intervals")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", ["create", "cancel", "poll"])
async def test_a_fault_at_each_call(
    shipping: Launched, users: FakeUserService, carrier: httpx.AsyncClient, call: str, fault: str
) -> None:
    """The first try of the call fails in this way. The retry succeeds without webhooks, and nothing is done twice."""
    order_id, address_id = new_id(), users.add_address(postcode="10117")
    values = {"postcodes": {"10117": {"fault": fault}}, "dispatch_seconds": 1 if call == "poll" else 3600}
    if call == "create":
        await carrier.put("/settings", json=values)
    await carrier.put("/settings", json={"dispatch_seconds": values["dispatch_seconds"]})
    await send(shipping, create(order_id, address_id))
    await carrier.put("/settings", json=values)
    if call == "poll":
        await wait_for_events(shipping, ShipmentDispatched)
    if call == "cancel":
        await send(shipping, CancelShipment(order_id=order_id))
        await wait_for_events(shipping, ShipmentCancelled)
    ends = {"create": "accepted", "cancel": "cancelled", "poll": "dispatched"}
    assert await at_the_carrier(carrier, order_id) == [ends[call]]


@pytest.mark.usefixtures("short_poll_intervals")
async def test_polling_finds_lost_parcels(
    shipping: Launched, users: FakeUserService, carrier: httpx.AsyncClient
) -> None:
    await carrier.put("/settings", json={"dispatch_seconds": 0, "deliver_seconds": 0})
    await shipping.send(create(new_id(), users.add_address(postcode="99599")))
    await wait_for_events(shipping, ShipmentDispatched, ShipmentLost)
    (shipment,) = await shipping.rows(Shipment)
    assert shipment.due_at is None


async def test_while_the_breaker_is_open_shipments_wait_and_then_go_through(
    shipping: Launched, users: FakeUserService, carrier: httpx.AsyncClient
) -> None:
    """The carrier is unavailable; when it is back, it gets every parcel once."""
    await carrier.put("/settings", json={"faults": {"unavailable": 1}})
    orders, address_id = [new_id() for _ in range(30)], users.add_address()
    await shipping.send(*(create(id, address_id) for id in orders))
    breaker = await shipping.instance.runtime.resource(CircuitBreaker)._breakers.get_breaker("outside")
    assert breaker.context.state != "closed"
    assert {it.state for it in await shipping.rows(Shipment)} == {"creating"}
    await carrier.put("/settings", json={"faults": "none"})
    await send(shipping)
    assert {it.state for it in await shipping.rows(Shipment)} == {"accepted"}
    await check_parcels(shipping, carrier, orders)


@pytest.mark.usefixtures("webhooks", "short_poll_intervals")
async def test_all_faults_at_once(shipping: Launched, users: FakeUserService, carrier: httpx.AsyncClient) -> None:
    """Every kind of fault, at all calls and webhooks, while a third of the orders is cancelled."""
    faults = {"unavailable": 0.15, "breaks": 0.15, "late": 0.1, "slow": 0.05, "lost": 0.3}
    mood = {**faults, "webhook_late": 0.3, "webhook_duplicate": 0.3}
    values = {"faults": mood, "dispatch_seconds": 0.5, "deliver_seconds": 0.3, "webhook_late_seconds": 2}
    await carrier.put("/settings", json=values)
    orders, address_id = [new_id() for _ in range(60)], users.add_address()
    await shipping.broker.publish([shipping.envelope(create(id, address_id)) for id in orders])
    await shipping.broker.publish([shipping.envelope(CancelShipment(order_id=id)) for id in orders[::3]])
    await send(shipping, transient="accepted dispatched")
    await carrier.put("/settings", json={"faults": "none"})

    events_of = await announced(shipping)
    states = {it.order_id: it.state for it in await shipping.rows(Shipment)}
    ends = {"delivered": ShipmentDelivered, "lost": ShipmentLost}
    for order_id in orders:
        state, events = states[order_id], events_of[order_id]
        assert await at_the_carrier(carrier, order_id) == [state]
        assert events == ([ShipmentDispatched, ends[state]] if state in ends else [ShipmentCancelled])
        assert state in ends or order_id in orders[::3]
    assert ShipmentRejected not in {type for events in events_of.values() for type in events}
    assert {"delivered", "lost"} <= set(states.values())
