"""Shipments against the real carrier program: every order of commands, every kind of trouble, and its webhooks."""

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import product
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import pytest
from standardwebhooks import Webhook

from chassis.messaging.message import Message
from chassis.service import Runtime
from chassis.tables import new_id
from chassis.testing import Launched
from contracts.product import Line
from contracts.shipping import (
    CancelShipment,
    CreateShipment,
    ShipmentCancelled,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentRejected,
)
from contracts.user import AddressView
from outside.server import Outside
from shipping import handlers
from shipping.carrier import ask
from shipping.models import Shipment, ShipmentState

from .conftest import SECRET, Users

SEQUENCES = ["".join(commands) for length in (1, 2, 3) for commands in product("CX", repeat=length)]
Answers = dict[tuple[str, str], tuple[str, list[type[Message]]]]

# What must be announced when each command comes after all is known of the one before: state, command → state, events.
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
NOT_SERVED = NEVER_CREATED | {
    ("none", "C"): ("rejected", [ShipmentRejected]),
    ("rejected", "C"): ("rejected", [ShipmentRejected]),
    ("rejected", "X"): ("rejected", [ShipmentCancelled]),
}
# The seconds until a parcel is dispatched and from there until it is delivered; which state is passed at once.
STAYING, LEAVING, ARRIVING = (3600, 3600, ""), (0, 3600, "accepted"), (0, 0, "accepted dispatched")
SITUATIONS = {
    "stays": (STAYS, STAYING, {}),
    "leaves": (LEAVES, LEAVING, {}),
    "arrives": (ARRIVES, ARRIVING, {}),
    "country not served": (NOT_SERVED, STAYING, {"country": "XX"}),
    "carrier unavailable": (STAYS, STAYING, {"postcode": "99503"}),
    "carrier breaks": (LEAVES, LEAVING, {"postcode": "99500"}),
    "carrier slow": (STAYS, STAYING, {"postcode": "99504"}),
}
AT_THE_CARRIER = {
    "accepted": {"accepted", "dispatched", "delivered"},  # we may not have heard yet
    "dispatched": {"dispatched", "delivered"},
    "delivered": {"delivered"},
    "cancelled": {"cancelled"},
}


def create(order_id: UUID, address_id: UUID) -> CreateShipment:
    return CreateShipment(order_id=order_id, address_id=address_id, lines=[Line(product_id=new_id(), quantity=2)])


def command(letter: str, order_id: UUID, address_id: UUID) -> Message:
    return create(order_id, address_id) if letter == "C" else CancelShipment(order_id=order_id)


async def send(shipping: Launched, *messages: Message, passing: str = "") -> None:
    """Publish, and return when no shipment is in a state that it only passes."""
    await shipping.send(*messages)
    deadline = time.monotonic() + 60
    while any(it.state in f"creating cancelling {passing}".split() for it in await shipping.rows(Shipment)):
        assert time.monotonic() < deadline, f"stuck: {await shipping.rows(Shipment)}"
        await asyncio.sleep(0.05)
    await shipping.settled()


async def hear(shipping: Launched, *types: type[Message]) -> None:
    """Wait until all of these, and nothing else, have been announced."""
    deadline = time.monotonic() + 20
    while (heard := [type(event) for event in await shipping.sent()]) != list(types):
        assert time.monotonic() < deadline, heard
        await asyncio.sleep(0.02)


async def announced(shipping: Launched) -> dict[UUID, list[type[Message]]]:
    """The types of the events of each order."""
    found: dict[UUID, list[type[Message]]] = {}
    for event in await shipping.sent():
        found.setdefault(cast(Any, event).order_id, []).append(type(event))
    return found


async def at_the_carrier(carrier: httpx.AsyncClient, order_id: UUID) -> list[str]:
    found = (await carrier.get("/shipments", params={"reference": str(order_id)})).json()
    return [it["status"] for it in found]


async def check_parcels(shipping: Launched, carrier: httpx.AsyncClient, order_ids: Iterable[UUID]) -> None:
    """What we believe is what the carrier did, and it did it once."""
    ours = {it.order_id: it.state for it in await shipping.rows(Shipment)}
    for order_id in order_ids:
        theirs = await at_the_carrier(carrier, order_id)
        assert len(theirs) <= 1
        if theirs:
            assert theirs[0] in AT_THE_CARRIER[ours[order_id]]
        else:
            assert ours[order_id] in ("cancelled", "rejected")


@pytest.mark.usefixtures("webhooks")
@pytest.mark.parametrize("situation", SITUATIONS)
async def test_commands_one_after_the_other(
    shipping: Launched, users: Users, carrier: httpx.AsyncClient, situation: str
) -> None:
    answers, (dispatch, deliver, passing), address = SITUATIONS[situation]
    await carrier.put("/settings", json={"dispatch_seconds": dispatch, "deliver_seconds": deliver})
    address_id = users.add(**address)
    orders = {new_id(): sequence for sequence in SEQUENCES}
    for step in range(3):
        commands = [command(it[step], id, address_id) for id, it in orders.items() if len(it) > step]
        await send(shipping, *commands, passing=passing)

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
    shipping: Launched, users: Users, carrier: httpx.AsyncClient, situation: str
) -> None:
    """The later commands come while it is unknown whether the carrier has the parcel."""
    _, (dispatch, deliver, passing), address = SITUATIONS[situation]
    await carrier.put("/settings", json={"dispatch_seconds": dispatch, "deliver_seconds": deliver})
    address_id = users.add(**address)
    orders = {new_id(): sequence for sequence in SEQUENCES}
    commands = [command(letter, id, address_id) for id, sequence in orders.items() for letter in sequence]
    await send(shipping, *commands, passing=passing)

    events = await announced(shipping)
    for order_id, sequence in orders.items():
        told = events.get(order_id, [])
        answered = {ShipmentCancelled, ShipmentDispatched} & set(told)
        assert len(answered) == 1 if "X" in sequence else ShipmentCancelled not in answered, sequence
        if sequence.startswith("X"):
            assert await at_the_carrier(carrier, order_id) == [], sequence
        if ShipmentDelivered in told:
            assert told.index(ShipmentDispatched) < told.index(ShipmentDelivered)
    await check_parcels(shipping, carrier, orders)


@pytest.mark.usefixtures("webhooks")
async def test_cancel_races_with_dispatch(shipping: Launched, users: Users, carrier: httpx.AsyncClient) -> None:
    """Whoever is first wins, and the answer is what the carrier did."""
    await carrier.put("/settings", json={"dispatch_seconds": 0.2})
    orders, address_id = [new_id() for _ in range(60)], users.add()
    await shipping.broker.publish([shipping.envelope(create(id, address_id)) for id in orders])
    for order_id in orders:
        await shipping.broker.publish([shipping.envelope(CancelShipment(order_id=order_id))])
        await asyncio.sleep(0.005)
    await send(shipping, passing="accepted")
    for order_id, told in (await announced(shipping)).items():
        assert len(set(told)) == 1, told
        (theirs,) = await at_the_carrier(carrier, order_id)
        assert {ShipmentCancelled: "cancelled", ShipmentDispatched: "dispatched"}[told[0]] == theirs
    await check_parcels(shipping, carrier, orders)


async def test_a_cancel_waits_while_it_is_unknown_who_has_the_parcel(
    shipping: Launched, users: Users, carrier: httpx.AsyncClient
) -> None:
    order_id = new_id()
    await shipping.broker.publish([shipping.envelope(create(order_id, users.add(postcode="99504")))])
    await accepted(carrier, order_id)
    await shipping.broker.publish([shipping.envelope(CancelShipment(order_id=order_id))])
    (waiting,) = await shipping.rows(Shipment)
    assert (waiting.state, waiting.cancel_waits) == ("creating", True)
    assert await at_the_carrier(carrier, order_id) == ["accepted"]

    await send(shipping)
    await hear(shipping, ShipmentCancelled)
    assert await at_the_carrier(carrier, order_id) == ["cancelled"]


async def accepted(carrier: httpx.AsyncClient, order_id: UUID) -> None:
    async with asyncio.timeout(10):
        while await at_the_carrier(carrier, order_id) != ["accepted"]:  # noqa: ASYNC110  # in another process
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("webhooks")
async def test_kill_9_of_the_carrier_sends_nothing_twice(
    shipping: Launched, users: Users, carrier: httpx.AsyncClient, outside: Outside
) -> None:
    """Its settings are gone with it: nothing leaves in the 3600 s of before, and nobody is called back."""
    outside.settings = {"DISPATCH_SECONDS": "3600"}
    orders, address_id = [new_id() for _ in range(60)], users.add()
    for letter in "CX":
        chosen = orders if letter == "C" else orders[::2]
        sending = asyncio.create_task(send(shipping, *(command(letter, id, address_id) for id in chosen)))
        for _ in range(2):
            await asyncio.sleep(0.1)
            outside.kill()
            await asyncio.sleep(0.2)
            await outside.__aenter__()  # start() would hold up the service under test
        await sending
    assert [await at_the_carrier(carrier, id) for id in orders] == [["cancelled"], ["accepted"]] * 30
    await check_parcels(shipping, carrier, orders)


async def test_asking_is_the_net_when_no_webhook_comes(
    shipping: Launched, users: Users, carrier: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "FIRST_POLL_SECONDS", 0.1)
    await carrier.put("/settings", json={"dispatch_seconds": 0.2, "deliver_seconds": 0.5})
    await shipping.send(create(new_id(), users.add()))
    await hear(shipping, ShipmentDispatched, ShipmentDelivered)
    (shipment,) = await shipping.rows(Shipment)
    assert shipment.due_at is None


async def test_a_parcel_is_asked_for_less_and_less(
    shipping: Launched, users: Users, carrier: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "FIRST_POLL_SECONDS", 0.05)
    await shipping.send(create(new_id(), users.add()))
    await asyncio.sleep(3)
    (shipment,) = await shipping.rows(Shipment)
    assert 3 <= shipment.tries <= 8
    assert shipment.state == "accepted"


# Webhooks, as the test says them in the carrier's name.


def signed(news: dict[str, Any] | bytes, *, secret: str = SECRET, age: timedelta = timedelta()) -> dict[str, Any]:
    body = news if isinstance(news, bytes) else json.dumps(news).encode()
    id, at = f"msg_{uuid4().hex}", datetime.now(UTC) - age
    headers = {
        "webhook-id": id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(id, at, body.decode()),
    }
    return {"content": body, "headers": headers}


def news(status: str, order_id: UUID) -> dict[str, Any]:
    return {"type": f"shipment.{status}", "id": "shp_1", "reference": str(order_id), "tracking_code": "TRK1"}


async def tell(shipping: Launched, request: dict[str, Any]) -> httpx.Response:
    async with shipping.client() as client:
        return await client.post("/hooks/carrier", **request)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ("dispatched", [ShipmentDispatched]),
        ("dispatched dispatched", [ShipmentDispatched]),
        ("dispatched delivered", [ShipmentDispatched, ShipmentDelivered]),
        ("delivered", [ShipmentDispatched, ShipmentDelivered]),
        ("delivered dispatched", [ShipmentDispatched, ShipmentDelivered]),
        ("delivered dispatched delivered", [ShipmentDispatched, ShipmentDelivered]),
        ("in_customs", []),
    ],
)
@pytest.mark.parametrize("postcode", ["10115", "99504"], ids=["accepted", "creating"])
async def test_webhooks_in_any_order(
    shipping: Launched,
    users: Users,
    carrier: httpx.AsyncClient,
    statuses: str,
    expected: list[type[Message]],
    postcode: str,
) -> None:
    """Also those that overtake the answer to our own call, which then changes nothing any more."""
    order_id = new_id()
    await shipping.broker.publish([shipping.envelope(create(order_id, users.add(postcode=postcode)))])
    await accepted(carrier, order_id)
    if postcode == "10115":
        await shipping.settled()
    for status in statuses.split():
        assert (await tell(shipping, signed(news(status, order_id)))).status_code == 204
    await send(shipping)
    assert [type(event) for event in await shipping.sent()] == expected
    (shipment,) = await shipping.rows(Shipment)
    assert shipment.state == {0: "accepted", 1: "dispatched", 2: "delivered"}[len(expected)]


async def test_the_same_webhook_many_times_at_once(shipping: Launched, users: Users) -> None:
    order_id = new_id()
    await shipping.send(create(order_id, users.add()))
    told = [tell(shipping, signed(news(status, order_id))) for status in ("delivered", "dispatched") * 10]
    assert {answer.status_code for answer in await asyncio.gather(*told)} == {204}
    await shipping.settled()
    await hear(shipping, ShipmentDispatched, ShipmentDelivered)


async def test_a_webhook_answers_a_cancel_that_waits(
    shipping: Launched, users: Users, carrier: httpx.AsyncClient
) -> None:
    order_id = new_id()
    await shipping.broker.publish([shipping.envelope(create(order_id, users.add(postcode="99504")))])
    await accepted(carrier, order_id)
    await shipping.broker.publish([shipping.envelope(CancelShipment(order_id=order_id))])
    await tell(shipping, signed(news("dispatched", order_id)))
    await send(shipping)
    await hear(shipping, ShipmentDispatched)


async def test_what_was_stopped_does_not_leave(shipping: Launched, users: Users) -> None:
    order_id = new_id()
    await send(shipping, create(order_id, users.add()))
    await send(shipping, CancelShipment(order_id=order_id))
    assert (await tell(shipping, signed(news("dispatched", order_id)))).status_code == 204
    await shipping.settled()
    assert [type(event) for event in await shipping.sent()] == [ShipmentCancelled]


REFUSED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no signature": lambda request: request["headers"].clear(),
    "another signature": lambda request: request["headers"].update({"webhook-signature": "v1,AAAA"}),
    "no base64": lambda request: request["headers"].update({"webhook-signature": "v1,é".encode()}),
    "nonsense": lambda request: request["headers"].update({"webhook-signature": "nonsense"}),
    "another id": lambda request: request["headers"].update({"webhook-id": "msg_other"}),
    "another body": lambda request: request.update(content=request["content"].replace(b"TRK1", b"TRK2")),
    "not text": lambda request: request.update(content=b"\xff\xfe"),
    "another secret": lambda request: request.update(signed(request["content"], secret="b3RoZXI=")),
    "too old": lambda request: request.update(signed(request["content"], age=timedelta(minutes=6))),
    "too new": lambda request: request.update(signed(request["content"], age=-timedelta(minutes=6))),
}
UNREADABLE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no JSON": lambda request: request.update(signed(b"not json")),
    "nothing in it": lambda request: request.update(signed(b"{}")),
}


@pytest.mark.parametrize("how", [*REFUSED, *UNREADABLE])
async def test_a_webhook_that_is_not_the_carriers_changes_nothing(shipping: Launched, users: Users, how: str) -> None:
    order_id = new_id()
    await shipping.send(create(order_id, users.add()))
    request = signed(news("dispatched", order_id))
    {**REFUSED, **UNREADABLE}[how](request)
    answer = await tell(shipping, request)
    expected = (401, "signature_refused") if how in REFUSED else (422, "invalid_input")
    assert (answer.status_code, answer.json()["code"]) == expected
    (shipment,) = await shipping.rows(Shipment)
    assert shipment.state == "accepted"


async def test_a_webhook_about_a_stranger_is_taken_and_ignored(shipping: Launched) -> None:
    assert (await tell(shipping, signed(news("dispatched", new_id())))).status_code == 204
    assert await shipping.rows(Shipment) == []


# Addresses.


async def test_an_address_is_read_and_never_kept_or_sent_on(
    shipping: Launched, users: Users, carrier: httpx.AsyncClient
) -> None:
    await carrier.put("/settings", json={"dispatch_seconds": 0, "deliver_seconds": 0})
    await shipping.send(create(new_id(), users.add()))
    async with shipping.instance.database.work() as work:
        rows = await work.read("SELECT to_jsonb(s)::text AS it FROM shipments s")
        rows += await work.read("SELECT convert_from(body, 'UTF8') AS it FROM outbox_history")
    assert not any("Lovelace" in row["it"] or "Square" in row["it"] for row in rows)


async def test_an_address_that_is_gone_is_refused(shipping: Launched) -> None:
    await send(shipping, create(new_id(), new_id()))
    (event,) = await shipping.sent(ShipmentRejected)
    assert cast(ShipmentRejected, event).reason == "address_not_found"


async def test_an_address_that_is_gone_meanwhile_changes_nothing(
    shipping: Launched, users: Users, carrier: httpx.AsyncClient
) -> None:
    """The carrier took the parcel, its answer was lost, and then the address went away."""
    order_id, address_id = new_id(), users.add(postcode="99504")
    await shipping.broker.publish([shipping.envelope(create(order_id, address_id))])
    await accepted(carrier, order_id)
    del users.addresses[address_id]
    await send(shipping)
    (shipment,) = await shipping.rows(Shipment)
    assert (shipment.state, await shipping.sent()) == ("accepted", [])


async def test_it_waits_for_the_user_service(shipping: Launched, users: Users) -> None:
    users.away = True
    await shipping.send(create(new_id(), users.add()))
    (shipment,) = await shipping.rows(Shipment)
    assert shipment.state == "creating"
    users.away = False
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
    class AnyUser:
        async def get(self, path: str, into: type[AddressView]) -> AddressView:
            return into(id=new_id(), name="", street="", postcode="", city="", country="DE")

    shipment = Shipment.new(order_id=new_id(), address_id=new_id(), lines=[], state=ShipmentState.CREATING)
    settings = SimpleNamespace(carrier_url="http://carrier", carrier_timeout_seconds=1)
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(status, text=text))) as http:
        runtime = SimpleNamespace(http=http, settings=settings, client=lambda *_, **__: AnyUser())
        found = await ask(shipment, cast(Runtime, runtime))
    assert (found and found.status) == outcome


async def test_events_stay_in_the_trace_of_their_command(shipping: Launched, users: Users) -> None:
    order_id = new_id()
    asked = shipping.envelope(create(order_id, users.add()))
    await shipping.send(asked)
    await tell(shipping, signed(news("dispatched", order_id)))
    await shipping.settled()
    async with shipping.instance.database.work() as work:
        (row,) = await work.read("SELECT correlation_id, causation_id FROM outbox_history")
    assert (row["correlation_id"], row["causation_id"]) == (asked.correlation_id, str(asked.id))


async def test_staff_see_a_shipment_and_the_counts(shipping: Launched, users: Users) -> None:
    order_id = new_id()
    await send(shipping, create(order_id, users.add()), CancelShipment(order_id=new_id()))
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
