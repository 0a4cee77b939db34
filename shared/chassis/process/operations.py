"""Routes for operators, the same in every service: health, metrics, messages, dead letters and lag."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Query, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from chassis.brokers.port import BrokerUnavailable
from chassis.database.errors import is_transient
from chassis.messaging.consumer import Consumer
from chassis.messaging.dead_letters import DeadLetterQueue
from chassis.messaging.message_log import PAGE_LIMIT, MessageLog
from chassis.service import Runtime
from chassis.telemetry.outage import Outage
from chassis.web.dependencies import Operator

BROKER_SECONDS = 5


def operations(
    runtime: Runtime[Any], consumer: Consumer, outages: Mapping[str, Outage], stop: asyncio.Event
) -> APIRouter:
    """The routes that every service has. They are not part of its API."""
    router = APIRouter(include_in_schema=False)
    _add_health(router, runtime, outages, stop)
    _add_dead_letters(router, consumer.dead_letters)
    log = MessageLog(runtime.database)
    _add_messages(router, log, sorted(runtime.service.subscriptions.by_type))
    _add_lag(router, log, consumer)
    return router


def _add_health(router: APIRouter, runtime: Runtime[Any], outages: Mapping[str, Outage], stop: asyncio.Event) -> None:
    @router.get("/livez")
    async def get_liveness() -> dict[str, bool]:
        return {"alive": True}

    @router.get("/readyz")
    async def get_readiness() -> JSONResponse:
        waiting_for = {what: outage.reason for what, outage in outages.items() if outage.reason}
        if stop.is_set():
            waiting_for["service"] = "stopping"
        try:
            async with asyncio.timeout(2), runtime.database.work() as work:
                await work.read("SELECT 1")
        except Exception as error:
            if not is_transient(error):
                raise
            waiting_for["database"] = repr(error)
        return JSONResponse({"ready": not waiting_for, "waiting_for": waiting_for}, 503 if waiting_for else 200)

    @router.get("/metrics")
    async def get_metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _add_dead_letters(router: APIRouter, queue: DeadLetterQueue) -> None:
    @router.get("/internal/dead-letters")
    async def list_dead_letters(
        _: Operator, about: str | None = None, after: Annotated[int, Query(ge=0, lt=2**63)] = 0
    ) -> list[dict[str, Any]]:
        return await queue.list_dead_letters(about, after)

    @router.post("/internal/dead-letters/{key:path}/replay")
    async def replay_dead_letters(key: str, _: Operator) -> dict[str, int]:
        return {"replayed": await queue.replay(key)}

    @router.post("/internal/dead-letters/{key:path}/drop")
    async def drop_dead_letter(key: str, _: Operator, id: UUID | None = None) -> dict[str, Any]:
        return await queue.drop(key, id)


def _add_messages(router: APIRouter, log: MessageLog, subscribes: list[str]) -> None:
    @router.get("/internal/messages")
    async def list_sent(
        _: Operator, key: str | None = None, correlation_id: Annotated[list[str] | None, Query(max_length=100)] = None
    ) -> list[dict[str, Any]]:
        return await log.list_sent(key, correlation_id or [])

    @router.get("/internal/messages/published")
    async def list_published(
        _: Operator,
        after: datetime | None = None,
        key: str | None = None,
        type: str | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = PAGE_LIMIT,
    ) -> dict[str, Any]:
        messages, next_after = await log.list_published(after, key, type, limit)
        return {"messages": messages, "next_after": next_after}

    @router.post("/internal/messages/handled")
    async def list_handled(ids: Annotated[list[UUID], Body(max_length=PAGE_LIMIT)], _: Operator) -> dict[str, Any]:
        return {"subscribes": subscribes, "messages": await log.list_handled(ids)}


def _add_lag(router: APIRouter, log: MessageLog, consumer: Consumer) -> None:
    @router.get("/internal/lag")
    async def get_lag(_: Operator) -> dict[str, Any]:
        """`topics` is None while the broker is away, and `outage` says why."""
        topics, outage = None, None
        try:
            async with asyncio.timeout(BROKER_SECONDS):
                topics = await consumer.lag()
        except TimeoutError:
            outage = f"no answer within {BROKER_SECONDS} s"
        except BrokerUnavailable as error:
            outage = repr(error)
        return {"topics": topics, "outage": outage, "outbox": await log.outbox_backlog()}
