"""Webhooks, sent by the tests in place of the carrier: in any order, many times, and forged."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from standardwebhooks import Webhook

from chassis.database import new_id
from chassis.message import Message
from chassis.testing import Launched
from contracts.shipping import CancelShipment, ShipmentCancelled, ShipmentDelivered, ShipmentDispatched, ShipmentLost
from ledger.fakes import FakeUserService
from shipping import handlers
from shipping.models import Shipment

from .conftest import SECRET
from .steps import accepted, create, send, wait_for_events


def signed(webhook: dict[str, Any] | bytes, *, secret: str = SECRET, age: timedelta = timedelta()) -> dict[str, Any]:
    body = webhook if isinstance(webhook, bytes) else json.dumps(webhook).encode()
    id, at = f"msg_{uuid4().hex}", datetime.now(UTC) - age
    headers = {
        "webhook-id": id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(id, at, body.decode()),
    }
    return {"content": body, "headers": headers}


def webhook_body(status: str, order_id: UUID) -> dict[str, Any]:
    return {"type": f"shipment.{status}", "id": "shp_1", "reference": str(order_id), "tracking_code": "TRK1"}


async def post_webhook(shipping: Launched, request: dict[str, Any]) -> httpx.Response:
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
        ("dispatched lost", [ShipmentDispatched, ShipmentLost]),
        ("lost", [ShipmentDispatched, ShipmentLost]),
        ("lost dispatched lost", [ShipmentDispatched, ShipmentLost]),
        ("lost delivered", [ShipmentDispatched, ShipmentLost]),
        ("delivered lost", [ShipmentDispatched, ShipmentDelivered]),
        ("in_customs", []),
    ],
)
@pytest.mark.parametrize("postcode", ["10115", "99504"], ids=["accepted", "creating"])
async def test_webhooks_in_any_order(
    shipping: Launched,
    users: FakeUserService,
    carrier: httpx.AsyncClient,
    statuses: str,
    expected: list[type[Message]],
    postcode: str,
) -> None:
    """Also webhooks that come before the answer to our own call, which then changes nothing."""
    order_id = new_id()
    await shipping.broker.publish([shipping.envelope(create(order_id, users.add_address(postcode=postcode)))])
    await accepted(carrier, order_id)
    if postcode == "10115":
        await shipping.settled()
    for status in statuses.split():
        assert (await post_webhook(shipping, signed(webhook_body(status, order_id)))).status_code == 204
    await send(shipping)
    assert [type(event) for event in await shipping.sent()] == expected
    (shipment,) = await shipping.rows(Shipment)
    end = {ShipmentDispatched: "dispatched", ShipmentDelivered: "delivered", ShipmentLost: "lost"}
    assert shipment.state == (end[expected[-1]] if expected else "accepted")


async def test_the_same_webhook_many_times_at_once(shipping: Launched, users: FakeUserService) -> None:
    order_id = new_id()
    await shipping.send(create(order_id, users.add_address()))
    answers = [
        post_webhook(shipping, signed(webhook_body(status, order_id))) for status in ("delivered", "dispatched") * 10
    ]
    assert {answer.status_code for answer in await asyncio.gather(*answers)} == {204}
    await shipping.settled()
    await wait_for_events(shipping, ShipmentDispatched, ShipmentDelivered)


CONTRADICTIONS = [
    ("delivered", "lost", True),
    ("lost", "delivered", True),
    ("delivered", "dispatched", False),
    ("lost", "lost", False),
]


@pytest.mark.parametrize(("first", "then", "logged"), CONTRADICTIONS)
async def test_a_webhook_that_contradicts_the_end_is_logged(
    shipping: Launched, users: FakeUserService, caplog: pytest.LogCaptureFixture, first: str, then: str, logged: bool
) -> None:
    order_id = new_id()
    await shipping.send(create(order_id, users.add_address()))
    for status in (first, then):
        await post_webhook(shipping, signed(webhook_body(status, order_id)))
    assert ("contradicts the end" in caplog.text) == logged


@pytest.mark.parametrize("end", ["delivered", "lost"])
async def test_a_carrier_that_sends_a_stopped_parcel_is_logged(
    shipping: Launched, users: FakeUserService, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    order_id = new_id()
    await send(shipping, create(order_id, users.add_address()))
    await send(shipping, CancelShipment(order_id=order_id))
    await post_webhook(shipping, signed(webhook_body(end, order_id)))
    assert "contradicts the end" in caplog.text
    await wait_for_events(shipping, ShipmentCancelled)


async def test_delivered_and_lost_at_once_have_one_end(shipping: Launched, users: FakeUserService) -> None:
    order_id = new_id()
    await shipping.send(create(order_id, users.add_address()))
    answers = [post_webhook(shipping, signed(webhook_body(status, order_id))) for status in ("delivered", "lost") * 10]
    assert {answer.status_code for answer in await asyncio.gather(*answers)} == {204}
    await shipping.settled()
    first, end = await shipping.sent()
    (shipment,) = await shipping.rows(Shipment)
    assert isinstance(first, ShipmentDispatched)
    assert type(end) is {"delivered": ShipmentDelivered, "lost": ShipmentLost}[shipment.state]
    assert shipment.due_at is None


async def test_reports_of_the_carrier_are_stored_and_shown(shipping: Launched, users: FakeUserService) -> None:
    """Each report once, in the order of arrival; also unknown statuses, and reports after the end."""
    order_id = new_id()
    await shipping.send(create(order_id, users.add_address()))
    at = "2026-03-01T10:00:00Z"
    reports: list[dict[str, Any]] = [
        {**webhook_body("dispatched", order_id), "occurred_at": at, "place": "Leipzig"},
        {**webhook_body("in_transit", order_id), "place": "Leipzig"},
        {**webhook_body("in_transit", order_id), "place": "Erfurt"},
        {**webhook_body("in_transit", order_id), "place": "Leipzig"},
        webhook_body("dispatched", order_id),
        webhook_body("lost", order_id),
        webhook_body("delivered", order_id),
    ]
    for it in reports:
        assert (await post_webhook(shipping, signed(it))).status_code == 204
    async with shipping.as_staff() as staff:
        shown = (await staff.get(f"/shipments/{order_id}")).json()
    assert shown["state"] == "lost"
    assert [(it["status"], it["place"]) for it in shown["updates"]] == [
        ("accepted", None),
        ("dispatched", "Leipzig"),
        ("in_transit", "Leipzig"),
        ("in_transit", "Erfurt"),
        ("lost", None),
        ("delivered", None),
    ]
    assert datetime.fromisoformat(shown["updates"][1]["at"]) == datetime.fromisoformat(at)


async def test_the_number_of_stored_reports_is_limited(
    shipping: Launched, users: FakeUserService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "MAX_UPDATES", 10)
    order_id = new_id()
    await shipping.send(create(order_id, users.add_address()))
    for number in range(15):
        await post_webhook(shipping, signed({**webhook_body("in_transit", order_id), "place": f"Place {number}"}))
    await post_webhook(shipping, signed(webhook_body("lost", order_id)))
    (shipment,) = await shipping.rows(Shipment)
    assert (len(shipment.updates), shipment.state) == (10, "lost")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("dispatched", [ShipmentDispatched]),
        ("delivered", [ShipmentDispatched, ShipmentDelivered]),
        ("lost", [ShipmentDispatched, ShipmentLost]),
    ],
)
@pytest.mark.parametrize("state", ["creating", "cancelling"])
async def test_a_webhook_answers_a_pending_cancel(
    shipping: Launched,
    users: FakeUserService,
    carrier: httpx.AsyncClient,
    state: str,
    status: str,
    expected: list[type[Message]],
) -> None:
    """The parcel left before the carrier got the cancel, or before the answer to our create call came."""
    order_id, address_id = new_id(), users.add_address(postcode="99504" if state == "creating" else "10115")
    await shipping.broker.publish([shipping.envelope(create(order_id, address_id))])
    await accepted(carrier, order_id)
    if state == "cancelling":
        await shipping.settled()
        await carrier.put("/settings", json={"faults": {"unavailable": 1}})
    await shipping.broker.publish([shipping.envelope(CancelShipment(order_id=order_id))])
    assert [it.state for it in await shipping.rows(Shipment)] == [state]
    await post_webhook(shipping, signed(webhook_body(status, order_id)))
    await send(shipping)
    await wait_for_events(shipping, *expected)


async def test_a_stopped_parcel_does_not_leave(shipping: Launched, users: FakeUserService) -> None:
    order_id = new_id()
    await send(shipping, create(order_id, users.add_address()))
    await send(shipping, CancelShipment(order_id=order_id))
    assert (await post_webhook(shipping, signed(webhook_body("dispatched", order_id)))).status_code == 204
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
    "a place of two lines": lambda request: request.update(signed({**json.loads(request["content"]), "place": "a\nb"})),
}


@pytest.mark.parametrize("how", [*REFUSED, *UNREADABLE])
async def test_an_unsigned_or_invalid_webhook_changes_nothing(
    shipping: Launched, users: FakeUserService, how: str
) -> None:
    order_id = new_id()
    await shipping.send(create(order_id, users.add_address()))
    request = signed(webhook_body("dispatched", order_id))
    {**REFUSED, **UNREADABLE}[how](request)
    answer = await post_webhook(shipping, request)
    expected = (401, "signature_refused") if how in REFUSED else (422, "invalid_input")
    assert (answer.status_code, answer.json()["code"]) == expected
    (shipment,) = await shipping.rows(Shipment)
    assert shipment.state == "accepted"


async def test_a_webhook_about_an_unknown_shipment_is_accepted_and_ignored(shipping: Launched) -> None:
    assert (await post_webhook(shipping, signed(webhook_body("dispatched", new_id())))).status_code == 204
    assert await shipping.rows(Shipment) == []


async def test_events_stay_in_the_trace_of_their_command(shipping: Launched, users: FakeUserService) -> None:
    order_id = new_id()
    requested = shipping.envelope(create(order_id, users.add_address()))
    await shipping.send(requested)
    await post_webhook(shipping, signed(webhook_body("dispatched", order_id)))
    await shipping.settled()
    async with shipping.instance.database.work() as work:
        (row,) = await work.read("SELECT correlation_id, causation_id FROM outbox_history")
    assert (row["correlation_id"], row["causation_id"]) == (requested.correlation_id, str(requested.id))
