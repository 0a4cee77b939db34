"""HTTP in: an order's moves as they happen, as server-sent events. WHATWG HTML, section 9.2.

Nothing is held while a client waits but the connection to it: each look at the table is a short transaction.
"""

import time
from collections.abc import AsyncIterator
from typing import Annotated, cast
from uuid import UUID

from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from aggregator import queries
from aggregator.config import AggregatorSettings
from aggregator.models import OrderReadModel
from aggregator.order_notifications import OrderNotifications
from aggregator.orders import order_steps, order_view, require_visible
from chassis.backoff import wait
from chassis.failures import away
from chassis.service import Runtime as Running
from chassis.web import Caller, Runtime
from contracts import order as contract
from contracts.aggregator import OrderUpdate
from contracts.order import OrderStatus, OrderView

router = APIRouter(prefix="/api/v1")
FINAL_STATUSES = {
    OrderStatus.DELIVERED,
    OrderStatus.CANCELLED,
    OrderStatus.REFUNDED,
}  # after a delivery, a refund may follow
RETRY_MILLISECONDS = 2_000
LastEventId = Annotated[int, Header(ge=0, description="The version that the client saw last")]


class EventStream(StreamingResponse):
    """Not FastAPI's own: that one has to begin before it is known whether there is anything to send."""

    media_type = "text/event-stream"


@router.get(
    "/orders/{order_id}/stream",
    response_class=EventStream,
    responses={204: {"description": "Nothing will follow what the client has seen"}},
)
async def stream_order(order_id: UUID, runtime: Runtime, caller: Caller, last_event_id: LastEventId = 0) -> Response:
    """The moves of one of the caller's orders, each an event with its version as id and an OrderUpdate as data.

    Ends when nothing is left to happen, when the token expires or the server stops. To go on, ask again with the last
    id: that is answered with 204, which ends the matter, when there is no more to come.
    """
    seen = require_visible(await _read_order(order_id, runtime), caller)
    if seen is None:  # placed a moment ago, or not the caller's: its owner knows
        await runtime.client(contract.api).get(f"/orders/{order_id}", into=OrderView)
    elif seen.status in FINAL_STATUSES and seen.version <= last_event_id:
        return Response(status_code=204)
    moves = _events(order_id, last_event_id, caller.expires_at, runtime)
    return EventStream(moves, headers={"cache-control": "no-store", "x-accel-buffering": "no"})


async def _events(order_id: UUID, version: int, until: float, runtime: Running) -> AsyncIterator[bytes]:
    """Those after a version. It listens first and looks then, so that nothing is missed in between."""
    seconds = cast(AggregatorSettings, runtime.settings).stream_poll_seconds
    async with runtime.hold(OrderNotifications).subscribe(order_id) as news:
        while time.time() < until and not runtime.stop.is_set():
            news.clear()
            try:
                order = await _read_order(order_id, runtime)
            except Exception as error:
                if not away(error):
                    raise
                break
            for move in _updates_after(order, version):
                yield format_sse_event(data_str=move.model_dump_json(), id=str(move.step.version))
                version = move.step.version
            if order is not None and order.status in FINAL_STATUSES:
                break
            await wait(seconds, news, runtime.stop)
            if not news.is_set():
                yield KEEPALIVE_COMMENT
    yield format_sse_event(retry=RETRY_MILLISECONDS)


async def _read_order(order_id: UUID, runtime: Running) -> OrderReadModel | None:
    async with runtime.database.work() as work:
        return await queries.order_or_none(work, order_id)


def _updates_after(order: OrderReadModel | None, version: int) -> list[OrderUpdate]:
    if order is None:
        return []
    return [OrderUpdate(step=step, order=order_view(order)) for step in order_steps(order) if step.version > version]
