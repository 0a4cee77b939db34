"""Around every request: its trace, deadline, caller and size, its metrics, and the errors that nothing else caught."""

import asyncio
import time

from opentelemetry.trace import SpanKind
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis.calls import client
from chassis.errors import BodyTooLarge
from chassis.service import Runtime
from chassis.telemetry import logs, metrics, tracing
from chassis.web.problems import as_problem, response_to


class Requests:
    """Around every request: its trace, deadline, caller and size, its metrics, and what nobody else caught."""

    def __init__(self, app: ASGIApp, runtime: Runtime) -> None:
        self._app, self._runtime = app, runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        settings, service = self._runtime.settings, self._runtime.service.name
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        started, status = time.monotonic(), 0
        logs.service_name.set(service)
        client.authorization.set(headers.get("authorization"))
        client.request_id.set(headers.get("x-request-id"))
        seconds = min(_milliseconds(headers.get(client.DEADLINE_HEADER)), settings.request_timeout_seconds)
        client.deadline.set(started + seconds)

        async def note_start(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if dict(message["headers"]).get(b"content-type", b"").startswith(b"text/event-stream"):
                    limit.reschedule(None)  # it had to begin in time; it lasts as long as somebody reads
            await send(message)

        name = f"{scope['method']} {scope['path']}"
        with tracing.span(service, name, SpanKind.SERVER, headers.get("traceparent")) as span:
            try:
                limited = _Limited(receive, settings.max_body_bytes, headers.get("content-length", ""))
                async with asyncio.timeout(seconds) as limit:
                    await self._app(scope, limited, note_start)
            except Exception as error:
                if status:
                    raise
                await response_to(as_problem(error))(scope, receive, note_start)
            span.set_attribute("http.response.status_code", status)
        route = getattr(scope.get("route"), "path", "-")
        metrics.requests.labels(service, scope["method"], route, status).observe(time.monotonic() - started)


class _Limited:
    """Receives a body up to a limit."""

    def __init__(self, receive: Receive, limit: int, announced: str) -> None:
        self._receive, self._limit = receive, limit
        self._bytes = int(announced) if announced.isdigit() else 0

    async def __call__(self) -> Message:
        if self._bytes > self._limit:
            raise BodyTooLarge()
        message = await self._receive()
        if not self._bytes or self._bytes < 0:
            self._bytes -= len(message.get("body", b""))
            if -self._bytes > self._limit:
                raise BodyTooLarge()
        return message


def _milliseconds(header: str | None) -> float:
    """As seconds; without the header, as long as we let it."""
    return int(header) / 1000 if header and header.isdigit() else float("inf")
