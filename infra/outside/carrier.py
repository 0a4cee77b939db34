"""The carrier: takes parcels, sends and delivers them after a while, and says so by signed webhooks.

Webhooks are signed as the Standard Webhooks specification 1.0.0 says, and repeated with backoff until answered 2xx.
"""

import asyncio
import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from random import randint
from typing import Any
from uuid import uuid4

import httpx
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from standardwebhooks import Webhook

from outside.world import Answer, Key, TheWorld, Trouble, World, reply

router = APIRouter(prefix="/shipments")
NOT_SERVED = "XX"  # a country
TROUBLE: dict[str, Trouble] = {"99503": "unavailable", "99500": "breaks", "99504": "slow"}  # by postcode
_MOST_SECONDS = 60


class Address(BaseModel, extra="allow"):
    postcode: str
    country: str


class Send(BaseModel, extra="forbid"):
    reference: str
    address: Address
    parcels: list[dict[str, Any]]


@router.post("")
async def send(body: Send, world: World, key: Key) -> JSONResponse:
    """Take a shipment: 201 accepted, or 422 rejected with a reason."""

    def act() -> Answer:
        if body.address.country == NOT_SERVED:
            return 422, {"status": "rejected", "reason": "country_not_served"}
        shipment = {
            "id": f"shp_{uuid4().hex}",
            "reference": body.reference,
            "tracking_code": f"TRK{randint(0, 10**12 - 1):012}",
            "status": "accepted",
            "due_at": time.time() + world.settings.dispatch_seconds,
        }
        world.rows("INSERT INTO shipments VALUES (:id, :reference, :tracking_code, :status, :due_at)", **shipment)
        return 201, _shown(shipment)

    world.changed.set()
    return await world.answer(key, f"send {body.model_dump_json()}", act, TROUBLE.get(body.address.postcode))


@router.post("/{id}/cancel")
async def cancel(id: str, world: World) -> JSONResponse:
    """Stop it: 200 cancelled, also if it was; 409 with the shipment when it has left."""
    with world.transaction():
        world.rows("UPDATE shipments SET status = 'cancelled', due_at = NULL WHERE id = ? AND status = 'accepted'", id)
        found = world.rows("SELECT * FROM shipments WHERE id = ?", id)
    if not found:
        return reply((404, {"code": "shipment_not_found"}))
    return reply((200 if found[0]["status"] == "cancelled" else 409, _shown(found[0])))


@router.get("/{id}")
async def shipment(id: str, world: World) -> JSONResponse:
    found = world.rows("SELECT * FROM shipments WHERE id = ?", id)
    return reply((200, _shown(found[0])) if found else (404, {"code": "shipment_not_found"}))


@router.get("")
async def shipments(reference: str, world: World) -> list[dict[str, Any]]:
    return [_shown(found) for found in world.rows("SELECT * FROM shipments WHERE reference = ?", reference)]


async def work(world: TheWorld) -> None:
    """Move shipments and call back when it is time; sleep until then."""
    async with httpx.AsyncClient(timeout=5) as http, asyncio.TaskGroup() as calls:
        while True:
            world.changed.clear()
            _move_shipments(world)
            for webhook in _webhooks_due(world):
                calls.create_task(_call_back(world, http, webhook))
            with suppress(TimeoutError):
                await asyncio.wait_for(world.changed.wait(), _seconds_to_next(world))


def _move_shipments(world: TheWorld) -> None:
    now = time.time()
    with world.transaction():
        for shipment in world.rows("SELECT * FROM shipments WHERE due_at <= ? ORDER BY due_at", now):
            sent = shipment["status"] == "accepted"
            shipment["status"] = "dispatched" if sent else "delivered"
            shipment["due_at"] = now + world.settings.deliver_seconds if sent else None
            world.rows("UPDATE shipments SET status = :status, due_at = :due_at WHERE id = :id", **shipment)
            if world.settings.carrier_webhook_url:
                body = {"type": f"shipment.{shipment['status']}", **_shown(shipment)}
                body["occurred_at"] = datetime.now(UTC).isoformat()
                webhook = (f"msg_{uuid4().hex}", json.dumps(body), now)
                world.rows("INSERT INTO webhooks VALUES (?, ?, 0, ?)", *webhook)


def _webhooks_due(world: TheWorld) -> list[dict[str, Any]]:
    """Those to be tried now. Each is put off before it is tried, so one that is lost in a crash is tried again."""
    return world.rows(
        f"UPDATE webhooks SET tries = tries + 1, due_at = ?1 + min({_MOST_SECONDS}, 1 << min(tries, 10))"
        " WHERE due_at <= ?1 RETURNING *",
        time.time(),
    )


async def _call_back(world: TheWorld, http: httpx.AsyncClient, webhook: dict[str, Any]) -> None:
    now, id, body = datetime.now(UTC), webhook["id"], webhook["body"]
    headers = {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(world.settings.carrier_webhook_secret).sign(id, now, body),
    }
    with suppress(httpx.HTTPError, httpx.InvalidURL):  # tried again when it is due
        answer = await http.post(world.settings.carrier_webhook_url, content=body, headers=headers)
        if answer.is_success:
            world.rows("DELETE FROM webhooks WHERE id = ?", id)


def _seconds_to_next(world: TheWorld) -> float | None:
    (next_one,) = world.rows(
        "SELECT min(due_at) AS due_at FROM (SELECT min(due_at) AS due_at FROM shipments"
        " UNION ALL SELECT min(due_at) FROM webhooks)"
    )
    return None if next_one["due_at"] is None else max(0, next_one["due_at"] - time.time())


def _shown(shipment: dict[str, Any]) -> dict[str, Any]:
    return {name: shipment[name] for name in ("id", "reference", "tracking_code", "status")}
