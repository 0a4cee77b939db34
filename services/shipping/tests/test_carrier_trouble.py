"""Shipping while the carrier misbehaves: at each call, for everybody, and in a cruel mood from beginning to end."""

import httpx
import pytest

from chassis.guard import Guard
from chassis.tables import new_id
from chassis.testing import Launched
from contracts.shipping import (
    CancelShipment,
    ShipmentCancelled,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentLost,
    ShipmentRejected,
)
from shipping import handlers
from shipping.models import Shipment

from .conftest import Users
from .steps import announced, at_the_carrier, check_parcels, create, hear, send

TROUBLE = ["unavailable", "breaks", "slow", "late"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask after moments, not minutes."""
    monkeypatch.setattr(handlers, "FIRST_POLL_SECONDS", 0.1)
    monkeypatch.setattr(handlers, "MOST_POLL_SECONDS", 1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.parametrize("call", ["send", "cancel", "ask"])
async def test_trouble_at_each_call(
    shipping: Launched, users: Users, carrier: httpx.AsyncClient, call: str, trouble: str
) -> None:
    """The first try of the call goes wrong in this way; no webhook helps, and nothing is done twice."""
    order_id, address_id = new_id(), users.add(postcode="10117")
    told = {"postcodes": {"10117": {"fault": trouble}}, "dispatch_seconds": 1 if call == "ask" else 3600}
    if call == "send":
        await carrier.put("/settings", json=told)
    await carrier.put("/settings", json={"dispatch_seconds": told["dispatch_seconds"]})
    await send(shipping, create(order_id, address_id))
    await carrier.put("/settings", json=told)
    if call == "ask":
        await hear(shipping, ShipmentDispatched)
    if call == "cancel":
        await send(shipping, CancelShipment(order_id=order_id))
        await hear(shipping, ShipmentCancelled)
    ends = {"send": "accepted", "cancel": "cancelled", "ask": "dispatched"}
    assert await at_the_carrier(carrier, order_id) == [ends[call]]


@pytest.mark.usefixtures("impatient")
async def test_asking_is_also_the_net_for_lost_parcels(
    shipping: Launched, users: Users, carrier: httpx.AsyncClient
) -> None:
    await carrier.put("/settings", json={"dispatch_seconds": 0, "deliver_seconds": 0})
    await shipping.send(create(new_id(), users.add(postcode="99599")))
    await hear(shipping, ShipmentDispatched, ShipmentLost)
    (shipment,) = await shipping.rows(Shipment)
    assert shipment.due_at is None


async def test_while_the_breaker_is_open_shipments_wait_and_then_go_through(
    shipping: Launched, users: Users, carrier: httpx.AsyncClient
) -> None:
    """The carrier is down for everybody; when it is back, every parcel is with it, once."""
    await carrier.put("/settings", json={"faults": {"unavailable": 1}})
    orders, address_id = [new_id() for _ in range(30)], users.add()
    await shipping.send(*(create(id, address_id) for id in orders))
    breaker = await shipping.instance.runtime.hold(Guard)._breakers.get_breaker("outside")
    assert breaker.context.state != "closed"
    assert {it.state for it in await shipping.rows(Shipment)} == {"creating"}
    await carrier.put("/settings", json={"faults": "none"})
    await send(shipping)
    assert {it.state for it in await shipping.rows(Shipment)} == {"accepted"}
    await check_parcels(shipping, carrier, orders)


@pytest.mark.usefixtures("webhooks", "impatient")
async def test_a_cruel_carrier(shipping: Launched, users: Users, carrier: httpx.AsyncClient) -> None:
    """Every kind of trouble, at all calls and webhooks; a third of the orders is cancelled on the way."""
    cruel = {"unavailable": 0.15, "breaks": 0.15, "late": 0.1, "slow": 0.05, "lost": 0.3}
    mood = {**cruel, "webhook_late": 0.3, "webhook_duplicate": 0.3}
    told = {"faults": mood, "dispatch_seconds": 0.5, "deliver_seconds": 0.3, "webhook_late_seconds": 2}
    await carrier.put("/settings", json=told)
    orders, address_id = [new_id() for _ in range(60)], users.add()
    await shipping.broker.publish([shipping.envelope(create(id, address_id)) for id in orders])
    await shipping.broker.publish([shipping.envelope(CancelShipment(order_id=id)) for id in orders[::3]])
    await send(shipping, passing="accepted dispatched")
    await carrier.put("/settings", json={"faults": "none"})

    told_by_us = await announced(shipping)
    states = {it.order_id: it.state for it in await shipping.rows(Shipment)}
    ends = {"delivered": ShipmentDelivered, "lost": ShipmentLost}
    for order_id in orders:
        state, events = states[order_id], told_by_us[order_id]
        assert await at_the_carrier(carrier, order_id) == [state]
        assert events == ([ShipmentDispatched, ends[state]] if state in ends else [ShipmentCancelled])
        assert state in ends or order_id in orders[::3]
    assert ShipmentRejected not in {type for events in told_by_us.values() for type in events}
    assert {"delivered", "lost"} <= set(states.values())
