"""Shipments against the carrier simulator: every sequence of commands, and every kind of fault."""

import asyncio
from datetime import UTC, datetime
from itertools import product
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from chassis.database import UnitOfWork, new_id
from chassis.message import Message
from chassis.service import Runtime
from chassis.testing import Launched
from contracts.shipping import (
    CancelShipment,
    ShipmentCancelled,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentLost,
    ShipmentRejected,
)
from contracts.user import AddressView
from ledger.fakes import FakeUserService
from shipping import handlers
from shipping.carrier import CarrierParcel, request_status
from shipping.config import ShippingSettings
from shipping.models import Shipment, ShipmentState
from simulators.server import Simulators

from .steps import accepted, announced, at_the_carrier, check_parcels, command, create, send, wait_for_events

SEQUENCES = ["".join(commands) for length in (1, 2, 3) for commands in product("CX", repeat=length)]
Answers = dict[tuple[str, str], tuple[str, list[type[Message]]]]

# The events of each command that comes after the end of the one before: state, command → state, events.
NEVER_CREATED: Answers = {
    ("none", "X"): ("cancelled", [ShipmentCancelled]),
    ("cancelled", "C"): ("cancelled", [ShipmentRejected]),
    ("cancelled", "X"): ("cancelled", [ShipmentCancelled]),
}
STAYS = NEVER_CREATED | {
    ("none", "C"): ("accepted", []),
    ("accepted", "C"): ("accepted", []),
    ("accepted", "X"): ("cancelled", [ShipmentCancelled]),
}
LEAVES = NEVER_CREATED | {
    ("none", "C"): ("dispatched", [ShipmentDispatched]),
    ("dispatched", "C"): ("dispatched", [ShipmentDispatched]),
    ("dispatched", "X"): ("dispatched", [ShipmentDispatched]),
}
ARRIVES = NEVER_CREATED | {
    ("none", "C"): ("delivered", [ShipmentDispatched, ShipmentDelivered]),
    ("delivered", "C"): ("delivered", [ShipmentDispatched]),
    ("delivered", "X"): ("delivered", [ShipmentDispatched]),
}
LOSES = NEVER_CREATED | {
    ("none", "C"): ("lost", [ShipmentDispatched, ShipmentLost]),
    ("lost", "C"): ("lost", [ShipmentDispatched]),
    ("lost", "X"): ("lost", [ShipmentDispatched]),
}
NOT_SERVED = NEVER_CREATED | {
    ("none", "C"): ("rejected", [ShipmentRejected]),
    ("rejected", "C"): ("rejected", [ShipmentRejected]),
    ("rejected", "X"): ("rejected", [ShipmentCancelled]),
}
# The seconds until a parcel is dispatched, and from then until it is delivered; the states that are transient then.
STAYING, LEAVING, ARRIVING = (3600, 3600, ""), (0, 3600, "accepted"), (0, 0, "accepted dispatched")
SITUATIONS = {
    "stays": (STAYS, STAYING, {}),
    "leaves": (LEAVES, LEAVING, {}),
    "arrives": (ARRIVES, ARRIVING, {}),
    "never leaves": (STAYS, (*LEAVING[:2], ""), {"postcode": "99598"}),
    "gets lost": (LOSES, ARRIVING, {"postcode": "99599"}),
    "country not served": (NOT_SERVED, STAYING, {"country": "XX"}),
    "carrier unavailable": (STAYS, STAYING, {"postcode": "99503"}),
    "carrier breaks": (LEAVES, LEAVING, {"postcode": "99500"}),
    "carrier slow": (STAYS, STAYING, {"postcode": "99504"}),
    "carrier late": (LEAVES, LEAVING, {"postcode": "99505"}),
}


@pytest.mark.usefixtures("webhooks")
@pytest.mark.parametrize("situation", SITUATIONS)
async def test_commands_one_after_the_other(
    shipping: Launched, users: FakeUserService, carrier: httpx.AsyncClient, situation: str
) -> None:
    answers, (dispatch, deliver, transient), address = SITUATIONS[situation]
    await carrier.put("/settings", json={"dispatch_seconds": dispatch, "deliver_seconds": deliver})
    address_id = users.add_address(**address)
    orders = {new_id(): sequence for sequence in SEQUENCES}
    for step in range(3):
        commands = [command(it[step], id, address_id) for id, it in orders.items() if len(it) > step]
        await send(shipping, *commands, transient=transient)

    events = await announced(shipping)
    ours = {it.order_id: it.state for it in await shipping.rows(Shipment)}
    for order_id, sequence in orders.items():
        state, expected = "none", []
        for letter in sequence:
            state, more = answers[state, letter]
            expected += more
        assert events.get(order_id, []) == expected, sequence
        assert ours[order_id] == state, sequence
    await check_parcels(shipping, carrier, orders)


@pytest.mark.usefixtures("webhooks")
@pytest.mark.parametrize("situation", SITUATIONS)
async def test_commands_all_at_once(
    shipping: Launched, users: FakeUserService, carrier: httpx.AsyncClient, situation: str
) -> None:
    """The later commands come while it is unknown whether the carrier has the parcel."""
    _, (dispatch, deliver, transient), address = SITUATIONS[situation]
    await carrier.put("/settings", json={"dispatch_seconds": dispatch, "deliver_seconds": deliver})
    address_id = users.add_address(**address)
    orders = {new_id(): sequence for sequence in SEQUENCES}
    commands = [command(letter, id, address_id) for id, sequence in orders.items() for letter in sequence]
    await send(shipping, *commands, transient=transient)

    events = await announced(shipping)
    for order_id, sequence in orders.items():
        types = events.get(order_id, [])
        answered = {ShipmentCancelled, ShipmentDispatched} & set(types)
        assert len(answered) == 1 if "X" in sequence else ShipmentCancelled not in answered, sequence
        if sequence.startswith("X"):
            assert await at_the_carrier(carrier, order_id) == [], sequence
        for end in {ShipmentDelivered, ShipmentLost} & set(types):
            assert types.index(ShipmentDispatched) < types.index(end)
    await check_parcels(shipping, carrier, orders)


@pytest.mark.usefixtures("webhooks")
async def test_cancel_races_with_dispatch(
    shipping: Launched, users: FakeUserService, carrier: httpx.AsyncClient
) -> None:
    """The carrier decides which of the two comes first, and the answer is what the carrier did."""
    await carrier.put("/settings", json={"dispatch_seconds": 0.2})
    orders, address_id = [new_id() for _ in range(60)], users.add_address()
    await shipping.broker.publish([shipping.envelope(create(id, address_id)) for id in orders])
    for order_id in orders:
        await shipping.broker.publish([shipping.envelope(CancelShipment(order_id=order_id))])
        await asyncio.sleep(0.005)
    await send(shipping, transient="accepted")
    for order_id, types in (await announced(shipping)).items():
        assert len(set(types)) == 1, types
        (theirs,) = await at_the_carrier(carrier, order_id)
        assert {ShipmentCancelled: "cancelled", ShipmentDispatched: "dispatched"}[types[0]] == theirs
    await check_parcels(shipping, carrier, orders)


async def test_a_cancel_waits_while_it_is_unknown_whether_the_carrier_has_the_parcel(
    shipping: Launched, users: FakeUserService, carrier: httpx.AsyncClient
) -> None:
    order_id = new_id()
    await shipping.broker.publish([shipping.envelope(create(order_id, users.add_address(postcode="99504")))])
    await accepted(carrier, order_id)
    await shipping.broker.publish([shipping.envelope(CancelShipment(order_id=order_id))])
    (waiting,) = await shipping.rows(Shipment)
    assert (waiting.state, waiting.cancel_pending) == ("creating", True)
    assert await at_the_carrier(carrier, order_id) == ["accepted"]

    await send(shipping)
    await wait_for_events(shipping, ShipmentCancelled)
    assert await at_the_carrier(carrier, order_id) == ["cancelled"]


@pytest.mark.usefixtures("webhooks")
async def test_kill_9_of_the_carrier_sends_nothing_twice(
    shipping: Launched, users: FakeUserService, carrier: httpx.AsyncClient, outside: Simulators
) -> None:
    """The kill also deletes its settings: parcels leave after the 3600 s below, and the carrier sends no webhooks."""
    outside.settings = {"DISPATCH_SECONDS": "3600"}
    orders, address_id = [new_id() for _ in range(60)], users.add_address()
    for letter in "CX":
        chosen = orders if letter == "C" else orders[::2]
        sending = asyncio.create_task(send(shipping, *(command(letter, id, address_id) for id in chosen)))
        for _ in range(2):
            await asyncio.sleep(0.1)
            outside.kill()
            await asyncio.sleep(0.2)
            await outside.__aenter__()  # start() would block the event loop of the service under test
        await sending
    assert [await at_the_carrier(carrier, id) for id in orders] == [["cancelled"], ["accepted"]] * 30
    await check_parcels(shipping, carrier, orders)


async def test_polling_replaces_missing_webhooks(
    shipping: Launched, users: FakeUserService, carrier: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "FIRST_POLL_SECONDS", 0.1)
    await carrier.put("/settings", json={"dispatch_seconds": 0.2, "deliver_seconds": 0.5})
    await shipping.send(create(new_id(), users.add_address()))
    await wait_for_events(shipping, ShipmentDispatched, ShipmentDelivered)
    (shipment,) = await shipping.rows(Shipment)
    assert shipment.due_at is None


async def test_a_parcel_that_the_carrier_cancels_itself_is_rejected(
    shipping: Launched, users: FakeUserService, carrier: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "FIRST_POLL_SECONDS", 0.1)
    await send(shipping, create(new_id(), users.add_address()))
    (shipment,) = await shipping.rows(Shipment)
    await carrier.post(f"/shipments/{shipment.carrier_id}/cancel")
    await wait_for_events(shipping, ShipmentRejected)
    (event,) = await shipping.sent()
    assert cast(ShipmentRejected, event).reason == "cancelled_by_carrier"


async def test_a_parcel_is_polled_again_and_again(
    shipping: Launched, users: FakeUserService, carrier: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "FIRST_POLL_SECONDS", 0.05)
    await shipping.send(create(new_id(), users.add_address()))
    async with asyncio.timeout(20):
        while (await shipping.rows(Shipment))[0].tries < 4:  # noqa: ASYNC110  # the service polls, not the test
            await asyncio.sleep(0.05)
    (shipment,) = await shipping.rows(Shipment)
    assert shipment.state == "accepted"


def test_a_parcel_is_polled_less_and_less_often() -> None:
    work = UnitOfWork(cast(Any, SimpleNamespace(service="shipping", settings=None)))
    work._now = now = datetime.now(UTC)
    shipment = Shipment.new(order_id=new_id(), lines=[], state=ShipmentState.ACCEPTED)
    parcel = CarrierParcel(status="accepted", id="shp_1", tracking_code="TRK1")
    for whole in (30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600):
        handlers.record_answer(shipment, parcel, work)
        assert shipment.due_at is not None
        assert whole / 2 <= (shipment.due_at - now).total_seconds() <= whole


async def test_an_address_is_read_and_never_stored_or_sent_on(
    shipping: Launched, users: FakeUserService, carrier: httpx.AsyncClient
) -> None:
    await carrier.put("/settings", json={"dispatch_seconds": 0, "deliver_seconds": 0})
    await shipping.send(create(new_id(), users.add_address()))
    async with shipping.instance.database.work() as work:
        rows = await work.read("SELECT to_jsonb(s)::text AS it FROM shipments s")
        rows += await work.read("SELECT convert_from(body, 'UTF8') AS it FROM outbox_history")
    assert not any("Lovelace" in row["it"] or "Square" in row["it"] for row in rows)


async def test_a_shipment_to_a_deleted_address_is_rejected(shipping: Launched) -> None:
    await send(shipping, create(new_id(), new_id()))
    (event,) = await shipping.sent(ShipmentRejected)
    assert cast(ShipmentRejected, event).reason == "address_not_found"


async def test_deleting_the_address_of_a_sent_parcel_changes_nothing(
    shipping: Launched, users: FakeUserService, carrier: httpx.AsyncClient
) -> None:
    """The carrier took the parcel, its answer was lost, and then the address was deleted."""
    order_id, address_id = new_id(), users.add_address(postcode="99504")
    await shipping.broker.publish([shipping.envelope(create(order_id, address_id))])
    await accepted(carrier, order_id)
    del users.answers["GET", f"/addresses/{address_id}"]
    await send(shipping)
    (shipment,) = await shipping.rows(Shipment)
    assert (shipment.state, await shipping.sent()) == ("accepted", [])


async def test_a_shipment_waits_for_the_user_service(shipping: Launched, users: FakeUserService) -> None:
    users.unavailable = True
    await shipping.send(create(new_id(), users.add_address()))
    (shipment,) = await shipping.rows(Shipment)
    assert shipment.state == "creating"
    users.unavailable = False
    await send(shipping)
    (shipment,) = await shipping.rows(Shipment)
    assert shipment.state == "accepted"


@pytest.mark.parametrize(
    ("status", "text", "outcome"),
    [
        (201, '{"status": "accepted", "id": "shp_1", "tracking_code": "TRK1"}', "accepted"),
        (201, '{"status": "accepted", "tracking_code": "TRK1"}', None),
        (201, '{"status": "on fire", "id": "shp_1", "tracking_code": "TRK1"}', None),
        (201, "<html>", None),
        (404, "{}", None),
        (409, "{}", None),
        (422, '{"status": "rejected", "reason": "too_heavy"}', "rejected"),
        (422, '{"detail": []}', "rejected"),
        (422, "<html>", None),
        (503, "", None),
    ],
)
async def test_only_a_clear_answer_is_a_fact(status: int, text: str, outcome: str | None) -> None:
    async def any_address(*_: Any, **__: Any) -> AddressView:
        return AddressView(id=new_id(), name="", street="", postcode="", city="", country="DE")

    shipment = Shipment.new(order_id=new_id(), address_id=new_id(), lines=[], state=ShipmentState.CREATING)
    settings = ShippingSettings.of(
        "shipping", database_url="", service_key="", carrier_webhook_secret="c2VjcmV0", carrier_url="http://carrier"
    )
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(status, text=text))) as http:
        runtime = SimpleNamespace(http=http, settings=settings, call=any_address, resource=lambda kind: kind(settings))
        found = await request_status(shipment, cast(Runtime[ShippingSettings], runtime))
    assert (found and found.status) == outcome


async def test_staff_see_a_shipment_and_the_counts(shipping: Launched, users: FakeUserService) -> None:
    order_id = new_id()
    await send(shipping, create(order_id, users.add_address()), CancelShipment(order_id=new_id()))
    async with shipping.as_staff() as client:
        seen = (await client.get(f"/shipments/{order_id}")).json()
        unknown = await client.get(f"/shipments/{new_id()}")
        totals = (await client.get("/totals")).json()
    assert (seen["state"], seen["lines"][0]["quantity"]) == ("accepted", 2)
    assert seen["tracking_code"].startswith("TRK")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "shipment_not_found")
    assert {state: count for state, count in totals.items() if count} == {"accepted": 1, "cancelled": 1}
    async with shipping.as_customer() as client:
        assert (await client.get(f"/shipments/{order_id}")).status_code == 403
    async with shipping.client() as client:
        assert (await client.get("/totals")).status_code == 401
