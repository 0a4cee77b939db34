"""Webhooks, as the tests say them in the carrier's name: in any order, many times, and forged."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from standardwebhooks import Webhook

from chassis.messaging.message import Message
from chassis.tables import new_id
from chassis.testing import Launched
from contracts.shipping import CancelShipment, ShipmentCancelled, ShipmentDelivered, ShipmentDispatched
from shipping.models import Shipment

from .conftest import SECRET, Users
from .steps import accepted, create, hear, send


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


async def test_events_stay_in_the_trace_of_their_command(shipping: Launched, users: Users) -> None:
    order_id = new_id()
    asked = shipping.envelope(create(order_id, users.add()))
    await shipping.send(asked)
    await tell(shipping, signed(news("dispatched", order_id)))
    await shipping.settled()
    async with shipping.instance.database.work() as work:
        (row,) = await work.read("SELECT correlation_id, causation_id FROM outbox_history")
    assert (row["correlation_id"], row["causation_id"]) == (asked.correlation_id, str(asked.id))
