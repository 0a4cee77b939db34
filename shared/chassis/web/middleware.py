"""Around every request: its trace, deadline, caller and size, its metrics, and the errors that nothing else caught."""

import asyncio
import time
from typing import Any

from opentelemetry.trace import SpanKind
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis.calls import client
from chassis.errors import BodyTooLarge
from chassis.service import Runtime
from chassis.telemetry import logs, metrics, tracing
from chassis.web.problems import as_problem, response_to

MAX_REQUEST_ID = 200  # characters; what follows is cut off


class RequestMiddleware:
    """Sets what the request brings along for calls and logs, and turns every error into an answer."""

    def __init__(self, app: ASGIApp, runtime: Runtime[Any]) -> None:
        self._app, self._runtime = app, runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        settings, service = self._runtime.settings, self._runtime.service.name
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        started, status = time.monotonic(), 0
        logs.service_name.set(service)
        client.authorization.set(_passable(headers.get("authorization", "")))
        client.request_id.set(_passable(headers.get("x-request-id", "")[:MAX_REQUEST_ID]))
        seconds = min(_deadline_seconds(headers.get(client.DEADLINE_HEADER)), settings.request_timeout_seconds)
        client.deadline.set(started + seconds)

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if dict(message["headers"]).get(b"content-type", b"").startswith(b"text/event-stream"):
                    limit.reschedule(None)  # a stream has to begin in time, and lasts as long as the client reads
            await send(message)

        name = f"{scope['method']} {scope['path']}"
        with tracing.span(service, name, SpanKind.SERVER, headers.get("traceparent")) as span:
            try:
                body = LimitedBody(receive, settings.max_body_bytes, headers.get("content-length", ""))
                async with asyncio.timeout(seconds) as limit:
                    await self._app(scope, body.receive, send_and_note)
            except Exception as error:
                if status:
                    raise
                await response_to(as_problem(error))(scope, receive, send_and_note)
            span.set_attribute("http.response.status_code", status)
        route = getattr(scope.get("route"), "path", "-")
        metrics.requests.labels(service, scope["method"], route, status).observe(time.monotonic() - started)


class LimitedBody:
    """A request's body up to a limit in bytes: by its announced length, and by the bytes that arrive."""

    def __init__(self, receive: Receive, limit: int, announced: str) -> None:
        self._receive, self._limit = receive, limit
        self._announced = _as_number(announced) or 0
        self._received = 0

    async def receive(self) -> Message:
        if self._announced > self._limit:
            raise BodyTooLarge()
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self._limit:
            raise BodyTooLarge()
        return message


def _deadline_seconds(milliseconds: str | None) -> float:
    """How long the caller will wait, by its header; without the header there is no limit."""
    number = _as_number(milliseconds or "")
    return float("inf") if number is None else number / 1000


def _as_number(text: str) -> int | None:
    """The number in a header, which anyone may have written: `²` is a digit, and Python reads up to 4300 of them."""
    return int(text) if text.isdecimal() and len(text) <= 15 else None


def _passable(text: str) -> str | None:
    """The value of a header, if a call to another service can carry it."""
    return text if text and text.isascii() and text.isprintable() else None
