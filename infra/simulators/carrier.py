"""The carrier: takes parcels, sends and delivers or loses them after a while, and says so by webhooks.

What becomes of a parcel is said by its postcode, or by the mood of the world.
"""

import time
from collections.abc import Callable
from random import randint
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Response
from pydantic import BaseModel

from simulators.faults import Road
from simulators.simulation import Answer, Key, Moody, TheWorld, World, reply
from simulators.webhooks import tell

router = APIRouter(prefix="/shipments", route_class=Moody)
NOT_SERVED = "XX"  # a country
DEPOT = "Leipzig"
ROADS = {
    "99500": Road(trouble="breaks"),
    "99503": Road(trouble="unavailable"),
    "99504": Road(trouble="slow"),
    "99505": Road(trouble="late"),
    "99598": Road(stays=True),
    "99599": Road(lost=True),
}
_PLAIN = Road()


class Address(BaseModel, extra="allow"):
    postcode: str
    country: str


class Send(BaseModel, extra="forbid"):
    reference: str
    address: Address
    parcels: list[dict[str, Any]]


@router.post("")
async def send(body: Send, world: World, key: Key) -> Response:
    """Take a shipment: 201 accepted, or 422 rejected with a reason."""
    postcode = body.address.postcode
    road = _road(world, postcode)

    def act() -> Answer:
        if body.address.country == NOT_SERVED:
            return 422, {"status": "rejected", "reason": "country_not_served"}
        shipment = {
            "id": f"shp_{uuid4().hex}",
            "reference": body.reference,
            "tracking_code": f"TRK{randint(0, 10**12 - 1):012}",
            "status": "accepted",
            "due_at": None if road.stays else time.time() + world.settings.dispatch_seconds,
            "postcode": postcode,
        }
        world.rows(
            "INSERT INTO shipments (id, reference, tracking_code, status, due_at, postcode)"
            " VALUES (:id, :reference, :tracking_code, :status, :due_at, :postcode)",
            **shipment,
        )
        return 201, _shown(shipment)

    world.parcels_changed.set()
    return await world.answer(key, f"send {body.model_dump_json()}", act, road.trouble)


@router.post("/{id}/cancel")
async def cancel(id: str, world: World) -> Response:
    """Stop it: 200 cancelled, also if it was; 409 with the shipment when it has left."""

    def act() -> Answer:
        world.rows("UPDATE shipments SET status = 'cancelled', due_at = NULL WHERE id = ? AND status = 'accepted'", id)
        (found,) = world.rows("SELECT * FROM shipments WHERE id = ?", id)
        return 200 if found["status"] == "cancelled" else 409, _shown(found)

    return await _asked(id, world, "cancel", act)


@router.get("/{id}")
async def shipment(id: str, world: World) -> Response:
    return await _asked(
        id, world, "get", lambda: (200, _shown(*world.rows("SELECT * FROM shipments WHERE id = ?", id)))
    )


@router.get("")
async def shipments(reference: str, world: World) -> list[dict[str, Any]]:
    return [_shown(found) for found in world.rows("SELECT * FROM shipments WHERE reference = ?", reference)]


async def work(world: TheWorld) -> None:
    """Move shipments when it is time; sleep until then."""
    while True:
        world.parcels_changed.clear()
        _move_shipments(world)
        (next_one,) = world.rows("SELECT min(due_at) AS due_at FROM shipments")
        await world.until(next_one["due_at"], world.parcels_changed)


def _move_shipments(world: TheWorld) -> None:
    now = time.time()
    with world.transaction():
        for shipment in world.rows("SELECT * FROM shipments WHERE due_at <= ? ORDER BY due_at", now):
            road, left = _road(world, shipment["postcode"]), shipment["status"] == "dispatched"
            lost = road.lost or world.chance.random() < world.settings.mood.lost
            shipment["status"] = ("lost" if lost else "delivered") if left else "dispatched"
            shipment["due_at"] = None if left else now + world.settings.deliver_seconds
            world.rows("UPDATE shipments SET status = :status, due_at = :due_at WHERE id = :id", **shipment)
            _tell(shipment, road, world)


def _tell(shipment: dict[str, Any], road: Road, world: TheWorld) -> None:
    left = shipment["status"] == "dispatched"
    late = road.news == "late" or (road.news == "reversed" and left)
    news = {**_shown(shipment), "place": DEPOT if left else None}
    for _ in range(2 if road.news == "twice" else 1):
        after = world.settings.webhook_late_seconds if late else 0
        tell(world, "carrier", f"shipment.{shipment['status']}", news, after=after)


async def _asked(id: str, world: TheWorld, what: str, act: Callable[[], Answer]) -> Response:
    """What needs no idempotency key, of a shipment that must be there. The first time with the trouble of its road."""
    with world.transaction():
        found = world.rows("SELECT * FROM shipments WHERE id = ?", id)
        if not found:
            return reply((404, {"code": "shipment_not_found"}))
        road = _road(world, found[0]["postcode"])
        trouble = road.trouble if road.trouble and world.first(f"{what} {id}") else None
        if trouble == "unavailable":
            return reply((503, {"code": "unavailable"}))
        answer = act()
    return await world.suffer(trouble, reply(answer))


def _road(world: TheWorld, postcode: str) -> Road:
    told = world.settings.postcodes
    return told.get(postcode) or told.get("*") or ROADS.get(postcode, _PLAIN)


def _shown(shipment: dict[str, Any]) -> dict[str, Any]:
    return {name: shipment[name] for name in ("id", "reference", "tracking_code", "status")}
