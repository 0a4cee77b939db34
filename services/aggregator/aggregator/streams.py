"""HTTP in: the updates of an order as they happen, as server-sent events (WHATWG HTML, section 9.2).

While a client waits, only its connection is held: each look at the table is a short transaction.
"""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from aggregator import queries
from aggregator.config import AggregatorSettings
from aggregator.models import OrderReadModel
from aggregator.order_notifications import OrderNotifications
from aggregator.orders import order_steps, order_view, require_visible
from aggregator.responses import NO_STORE
from chassis.database import is_transient
from chassis.resilience import wait_for_any
from chassis.service import Runtime as ServiceRuntime
from chassis.web import Caller, Runtime, raises
from contracts import order as contract
from contracts import order_api
from contracts.aggregator import OrderUpdate
from contracts.order_api import OrderNotFound

router = APIRouter(prefix="/api/v1", tags=["Orders"])
# No step follows these, except that a refund may follow a delivery.
FINAL_STATUSES = {contract.OrderStatus.DELIVERED, contract.OrderStatus.CANCELLED, contract.OrderStatus.REFUNDED}
LastEventId = Annotated[int, Header(alias="Last-Event-ID", ge=0, description="The `id` of the last event received.")]
EXAMPLE = 'id: 3\ndata: {"step": {"version": 3, "status": "confirmed", …}, "order": {"order_id": …}}\n\nretry: 2000\n\n'
DESCRIBED: dict[int | str, Any] = {
    **raises(OrderNotFound),
    200: {"description": "Events", "content": {"text/event-stream": {"example": EXAMPLE}}, **NO_STORE[200]},
    204: {"description": "The client has received the last event; do not request the stream again."},
}


class EventStream(StreamingResponse):
    """FastAPI's own class begins the response before this module knows whether there is anything to send."""

    media_type = "text/event-stream"


@router.get("/orders/{order_id}/stream", response_class=EventStream, responses=DESCRIBED)
async def stream_order(
    order_id: UUID, runtime: Runtime[AggregatorSettings], caller: Caller, last_event_id: LastEventId = 0
) -> Response:
    """Stream the updates of an order

    Server-sent events (`text/event-stream`), one for each step of the order: first the steps that have happened
    already, without those up to `Last-Event-ID`, then each new one as it happens. An event has the default type
    `message`; its `id` is the version of the order, its `data` a JSON object with the members `step` (an OrderStep) and
    `order` (an OrderView, which may be newer than the step). Comments keep the connection open.

    The stream ends after the last step, when the access token expires, and when the server stops. It ends with
    `retry`, the milliseconds to wait before the client requests it again with the last `id` as `Last-Event-ID`. The
    response is 204 when nothing will follow: then the client is done.

    The request needs an Authorization header, which EventSource in browsers cannot send: use fetch there.
    """
    known = require_visible(await _read_order(order_id, runtime), caller)
    if known is None:  # placed a moment ago, or not the caller's: its owner knows
        await runtime.call(order_api.get_order, order_id=order_id)
    elif known.status in FINAL_STATUSES and known.version <= last_event_id:
        return Response(status_code=204)
    events = _events(order_id, last_event_id, caller.expires_at, runtime)
    return EventStream(events, headers={"cache-control": "no-store", "x-accel-buffering": "no"})


async def _events(
    order_id: UUID, version: int, until: float, runtime: ServiceRuntime[AggregatorSettings]
) -> AsyncIterator[bytes]:
    """The events after a version. It subscribes first and reads then, so that no step is missed in between."""
    seconds = runtime.settings.stream_poll_seconds
    async with runtime.resource(OrderNotifications).subscribe(order_id) as changed:
        while time.time() < until and not runtime.stop.is_set():
            changed.clear()
            try:
                order = await _read_order(order_id, runtime)
            except Exception as error:
                if not is_transient(error):
                    raise
                break
            for update in _updates_after(order, version):
                yield format_sse_event(data_str=update.model_dump_json(), id=str(update.step.version))
                version = update.step.version
            if order is not None and order.status in FINAL_STATUSES:
                break
            await wait_for_any(seconds, changed, runtime.stop)
            if not changed.is_set():
                yield KEEPALIVE_COMMENT
    yield format_sse_event(retry=2_000)  # milliseconds


async def _read_order(order_id: UUID, runtime: ServiceRuntime) -> OrderReadModel | None:
    async with runtime.database.work() as work:
        return await queries.order_or_none(work, order_id)


def _updates_after(order: OrderReadModel | None, version: int) -> list[OrderUpdate]:
    if order is None:
        return []
    return [OrderUpdate(step=step, order=order_view(order)) for step in order_steps(order) if step.version > version]
