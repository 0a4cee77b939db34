"""What operators ask of any service: is it alive, is it ready, what does it count, which messages are parked."""

import asyncio
from collections.abc import Mapping

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from chassis.consumer import Consumer
from chassis.errors import NotFound
from chassis.failures import away
from chassis.logs import Trouble
from chassis.service import Runtime
from chassis.web import Operator


class NothingParked(NotFound):
    code, detail = "nothing_parked", "No message is parked under this key."


def operations(runtime: Runtime, consumer: Consumer, troubles: Mapping[str, Trouble], stop: asyncio.Event) -> APIRouter:
    """The routes that every service has. They are not part of its API."""
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    async def live() -> dict[str, bool]:
        return {"alive": True}

    @router.get("/readyz")
    async def ready() -> JSONResponse:
        waiting_for = {what: trouble.reason for what, trouble in troubles.items() if trouble.reason}
        if stop.is_set():
            waiting_for["service"] = "stopping"
        try:
            async with asyncio.timeout(2), runtime.database.work() as work:
                await work.read("SELECT 1")
        except Exception as error:
            if not away(error):
                raise
            waiting_for["database"] = repr(error)
        return JSONResponse({"ready": not waiting_for, "waiting_for": waiting_for}, 503 if waiting_for else 200)

    @router.get("/metrics")
    async def measured() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/internal/parked")
    async def parked(_: Operator) -> list[dict[str, object]]:
        return await consumer.parked()

    @router.post("/internal/parked/{key:path}/replay")
    async def replay(key: str, _: Operator) -> dict[str, int]:
        if not any(message["key"] == key for message in await consumer.parked()):
            raise NothingParked()
        return {"replayed": await consumer.replay(key)}

    return router
