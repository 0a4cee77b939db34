"""The carrier: takes parcels, dispatches them, delivers or loses them after a while, and reports this by webhooks.

The postcode decides what happens to a parcel (`DELIVERY_ROUTES`), beside the fault rates that hold for all parcels.
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
from simulators.webhooks import schedule_webhook

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
_DEFAULT = DeliveryRoute()


class ShippingAddress(BaseModel, extra="allow"):
    postcode: str
    country: str


class ShipmentRequest(BaseModel, extra="forbid"):
    reference: str
    address: ShippingAddress
    parcels: list[dict[str, Any]]


@router.post("")
async def create_shipment(body: ShipmentRequest, simulation: CurrentSimulation, key: IdempotencyKey) -> Response:
    """Take a shipment: 201 accepted, or 422 rejected with a reason."""
    postcode = body.address.postcode
    route = _delivery_route(simulation, postcode)

    def act() -> Answer:
        if body.address.country == NOT_SERVED:
            return 422, {"status": "rejected", "reason": "country_not_served"}
        shipment = {
            "id": f"shp_{uuid4().hex}",
            "reference": body.reference,
            "tracking_code": f"TRK{randint(0, 10**12 - 1):012}",
            "status": "accepted",
            "due_at": None if route.stays else time.time() + simulation.settings.dispatch_seconds,
            "postcode": postcode,
        }
        simulation.execute(
            "INSERT INTO shipments (id, reference, tracking_code, status, due_at, postcode)"
            " VALUES (:id, :reference, :tracking_code, :status, :due_at, :postcode)",
            **shipment,
        )
        return 201, _shipment_view(shipment)

    simulation.parcels_changed.set()
    return await simulation.answer_once(key, f"send {body.model_dump_json()}", act, route.fault)


@router.post("/{id}/cancel")
async def cancel_shipment(id: str, simulation: CurrentSimulation) -> Response:
    """Stop a shipment: 200 if it is cancelled, now or earlier; 409 with the shipment if it was dispatched."""

    def act() -> Answer:
        cancel = "UPDATE shipments SET status = 'cancelled', due_at = NULL WHERE id = ? AND status = 'accepted'"
        simulation.execute(cancel, id)
        (found,) = simulation.execute("SELECT * FROM shipments WHERE id = ?", id)
        return 200 if found["status"] == "cancelled" else 409, _shipment_view(found)

    return await _answer_about(id, simulation, "cancel", act)


@router.get("/{id}")
async def get_shipment(id: str, simulation: CurrentSimulation) -> Response:
    def act() -> Answer:
        (found,) = simulation.execute("SELECT * FROM shipments WHERE id = ?", id)
        return 200, _shipment_view(found)

    return await _answer_about(id, simulation, "get", act)


@router.get("")
async def list_shipments(reference: str, simulation: CurrentSimulation) -> list[dict[str, Any]]:
    found = simulation.execute("SELECT * FROM shipments WHERE reference = ?", reference)
    return [_shipment_view(shipment) for shipment in found]


async def move_shipments(simulation: Simulation) -> None:
    """Move due shipments to their next status; sleep until the next one is due."""
    while True:
        simulation.parcels_changed.clear()
        _move_due_shipments(simulation)
        (next_one,) = simulation.execute("SELECT min(due_at) AS due_at FROM shipments")
        await simulation.sleep_until(next_one["due_at"], simulation.parcels_changed)


def _move_due_shipments(simulation: Simulation) -> None:
    now = time.time()
    with simulation.transaction():
        for shipment in simulation.execute("SELECT * FROM shipments WHERE due_at <= ? ORDER BY due_at", now):
            route, dispatched = _delivery_route(simulation, shipment["postcode"]), shipment["status"] == "dispatched"
            lost = route.lost or simulation.random.random() < simulation.settings.faults.lost
            shipment["status"] = ("lost" if lost else "delivered") if dispatched else "dispatched"
            shipment["due_at"] = None if dispatched else now + simulation.settings.deliver_seconds
            simulation.execute("UPDATE shipments SET status = :status, due_at = :due_at WHERE id = :id", **shipment)
            _schedule_webhooks(shipment, route, simulation)


def _schedule_webhooks(shipment: dict[str, Any], route: DeliveryRoute, simulation: Simulation) -> None:
    dispatched = shipment["status"] == "dispatched"
    late = route.webhooks == "late" or (route.webhooks == "reversed" and dispatched)
    about = {**_shipment_view(shipment), "place": DEPOT if dispatched else None}
    for _ in range(2 if route.webhooks == "twice" else 1):
        delay = simulation.settings.webhook_late_seconds if late else 0
        schedule_webhook(simulation, "carrier", f"shipment.{shipment['status']}", about, delay_seconds=delay)


async def _answer_about(id: str, simulation: Simulation, what: str, act: Callable[[], Answer]) -> Response:
    """Answer a request that needs no idempotency key, about a shipment. The first one with the fault of its route."""
    with simulation.transaction():
        found = simulation.execute("SELECT * FROM shipments WHERE id = ?", id)
        if not found:
            return reply((404, {"code": "shipment_not_found"}))
        route = _delivery_route(simulation, found[0]["postcode"])
        fault = route.fault if route.fault and simulation.is_first_request(f"{what} {id}") else None
        if fault == "unavailable":
            return reply((503, {"code": "unavailable"}))
        answer = act()
    return await simulation.apply_fault(fault, reply(answer))


def _delivery_route(simulation: Simulation, postcode: str) -> DeliveryRoute:
    settings = simulation.settings.postcodes
    return settings.get(postcode) or settings.get("*") or DELIVERY_ROUTES.get(postcode, _DEFAULT)


def _shipment_view(shipment: dict[str, Any]) -> dict[str, Any]:
    return {name: shipment[name] for name in ("id", "reference", "tracking_code", "status")}
