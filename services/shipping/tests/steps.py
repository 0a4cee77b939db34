"""Steps that the tests of shipping share."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, cast
from uuid import UUID

import httpx

from chassis.database import new_id
from chassis.message import Message
from chassis.testing import Launched
from contracts.product import Line
from contracts.shipping import CancelShipment, CreateShipment
from shipping.models import Shipment

AT_THE_CARRIER = {
    "accepted": {"accepted", "dispatched", "delivered", "lost"},  # the next report may not have come yet
    "dispatched": {"dispatched", "delivered", "lost"},
    "delivered": {"delivered"},
    "lost": {"lost"},
    "cancelled": {"cancelled"},
}


def create(order_id: UUID, address_id: UUID) -> CreateShipment:
    return CreateShipment(order_id=order_id, address_id=address_id, lines=[Line(product_id=new_id(), quantity=2)])


def command(letter: str, order_id: UUID, address_id: UUID) -> Message:
    return create(order_id, address_id) if letter == "C" else CancelShipment(order_id=order_id)


async def send(shipping: Launched, *messages: Message, transient: str = "") -> None:
    """Publish, and wait until no shipment is in a transient state."""
    await shipping.send(*messages)
    deadline = time.monotonic() + 60
    while any(it.state in f"creating cancelling {transient}".split() for it in await shipping.rows(Shipment)):
        assert time.monotonic() < deadline, f"stuck: {await shipping.rows(Shipment)}"
        await asyncio.sleep(0.05)
    await shipping.settled()


async def wait_for_events(shipping: Launched, *types: type[Message]) -> None:
    """Wait until exactly these events have been announced."""
    deadline = time.monotonic() + 20
    while (types_so_far := [type(event) for event in await shipping.sent()]) != list(types):
        assert time.monotonic() < deadline, types_so_far
        await asyncio.sleep(0.02)


async def at_the_carrier(carrier: httpx.AsyncClient, order_id: UUID) -> list[str]:
    found = (await carrier.get("/shipments", params={"reference": str(order_id)})).json()
    return [it["status"] for it in found]


async def accepted(carrier: httpx.AsyncClient, order_id: UUID) -> None:
    async with asyncio.timeout(10):
        while await at_the_carrier(carrier, order_id) != ["accepted"]:  # noqa: ASYNC110  # in another process
            await asyncio.sleep(0.01)


async def announced(shipping: Launched) -> dict[UUID, list[type[Message]]]:
    """The types of the events of each order."""
    found: dict[UUID, list[type[Message]]] = {}
    for event in await shipping.sent():
        found.setdefault(cast(Any, event).order_id, []).append(type(event))
    return found


async def check_parcels(shipping: Launched, carrier: httpx.AsyncClient, order_ids: Iterable[UUID]) -> None:
    """The states agree with what the carrier did, and the carrier did it once."""
    ours = {it.order_id: it.state for it in await shipping.rows(Shipment)}
    for order_id in order_ids:
        theirs = await at_the_carrier(carrier, order_id)
        assert len(theirs) <= 1
        if theirs:
            assert theirs[0] in AT_THE_CARRIER[ours[order_id]]
        else:
            assert ours[order_id] in ("cancelled", "rejected")
