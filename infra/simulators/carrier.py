"""The carrier: takes parcels, sends and delivers or loses them after a while, and says so by webhooks.

What becomes of a parcel is said by its postcode, or by the faults of the world.
"""

import time
from collections.abc import Callable
from random import randint
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Response
from pydantic import BaseModel

from simulators.faults import DeliveryRoute
from simulators.simulation import Answer, CurrentSimulation, FaultInjectingRoute, IdempotencyKey, Simulation, reply
from simulators.webhooks import tell

router = APIRouter(prefix="/shipments", route_class=FaultInjectingRoute)
NOT_SERVED = "XX"  # a country
DEPOT = "Leipzig"
DELIVERY_ROUTES = {
    "99500": DeliveryRoute(fault="breaks"),
    "99503": DeliveryRoute(fault="unavailable"),
    "99504": DeliveryRoute(fault="slow"),
    "99505": DeliveryRoute(fault="late"),
    "99598": DeliveryRoute(stays=True),
    "99599": DeliveryRoute(lost=True),
}
_PLAIN = DeliveryRoute()


class ShippingAddress(BaseModel, extra="allow"):
    postcode: str
    country: str


class ShipmentRequest(BaseModel, extra="forbid"):
    reference: str
    address: ShippingAddress
    parcels: list[dict[str, Any]]


@router.post("")
async def send(body: ShipmentRequest, world: CurrentSimulation, key: IdempotencyKey) -> Response:
    """Take a shipment: 201 accepted, or 422 rejected with a reason."""
    postcode = body.address.postcode
    road = _delivery_route(world, postcode)

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
    return await world.answer(key, f"send {body.model_dump_json()}", act, road.fault)


@router.post("/{id}/cancel")
async def cancel(id: str, world: CurrentSimulation) -> Response:
    """Stop it: 200 cancelled, also if it was; 409 with the shipment when it has left."""

    def act() -> Answer:
        world.rows("UPDATE shipments SET status = 'cancelled', due_at = NULL WHERE id = ? AND status = 'accepted'", id)
        (found,) = world.rows("SELECT * FROM shipments WHERE id = ?", id)
        return 200 if found["status"] == "cancelled" else 409, _shown(found)

    return await _asked(id, world, "cancel", act)


@router.get("/{id}")
async def shipment(id: str, world: CurrentSimulation) -> Response:
    return await _asked(
        id, world, "get", lambda: (200, _shown(*world.rows("SELECT * FROM shipments WHERE id = ?", id)))
    )


@router.get("")
async def shipments(reference: str, world: CurrentSimulation) -> list[dict[str, Any]]:
    return [_shown(found) for found in world.rows("SELECT * FROM shipments WHERE reference = ?", reference)]


async def work(world: Simulation) -> None:
    """Move shipments when it is time; sleep until then."""
    while True:
        world.parcels_changed.clear()
        _move_shipments(world)
        (next_one,) = world.rows("SELECT min(due_at) AS due_at FROM shipments")
        await world.until(next_one["due_at"], world.parcels_changed)


def _move_shipments(world: Simulation) -> None:
    now = time.time()
    with world.transaction():
        for shipment in world.rows("SELECT * FROM shipments WHERE due_at <= ? ORDER BY due_at", now):
            road, left = _delivery_route(world, shipment["postcode"]), shipment["status"] == "dispatched"
            lost = road.lost or world.chance.random() < world.settings.faults.lost
            shipment["status"] = ("lost" if lost else "delivered") if left else "dispatched"
            shipment["due_at"] = None if left else now + world.settings.deliver_seconds
            world.rows("UPDATE shipments SET status = :status, due_at = :due_at WHERE id = :id", **shipment)
            _tell(shipment, road, world)


def _tell(shipment: dict[str, Any], road: DeliveryRoute, world: Simulation) -> None:
    left = shipment["status"] == "dispatched"
    late = road.news == "late" or (road.news == "reversed" and left)
    news = {**_shown(shipment), "place": DEPOT if left else None}
    for _ in range(2 if road.news == "twice" else 1):
        after = world.settings.webhook_late_seconds if late else 0
        tell(world, "carrier", f"shipment.{shipment['status']}", news, after=after)


async def _asked(id: str, world: Simulation, what: str, act: Callable[[], Answer]) -> Response:
    """What needs no idempotency key, of a shipment that must be there. The first time with the fault of its road."""
    with world.transaction():
        found = world.rows("SELECT * FROM shipments WHERE id = ?", id)
        if not found:
            return reply((404, {"code": "shipment_not_found"}))
        road = _delivery_route(world, found[0]["postcode"])
        fault = road.fault if road.fault and world.first(f"{what} {id}") else None
        if fault == "unavailable":
            return reply((503, {"code": "unavailable"}))
        answer = act()
    return await world.apply_fault(fault, reply(answer))


def _delivery_route(world: Simulation, postcode: str) -> DeliveryRoute:
    told = world.settings.postcodes
    return told.get(postcode) or told.get("*") or DELIVERY_ROUTES.get(postcode, _PLAIN)


def _shown(shipment: dict[str, Any]) -> dict[str, Any]:
    return {name: shipment[name] for name in ("id", "reference", "tracking_code", "status")}
