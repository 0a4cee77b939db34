"""Calling another service: found by name, within the caller's deadline, in the caller's name and trace."""

import time
from contextvars import ContextVar
from itertools import count
from typing import Any, TypeVar, overload

import httpx
import stamina
from opentelemetry.trace import SpanKind
from pydantic import TypeAdapter

from chassis.calls.auth import SERVICE_TOKEN_SECONDS, service_token
from chassis.calls.discovery import Api, Discovery, NotDiscovered
from chassis.errors import Forbidden, NotFound, Problem, TimedOut, Unauthenticated, Unavailable
from chassis.telemetry import tracing

T = TypeVar("T")
DEADLINE_HEADER = "x-envoy-expected-rq-timeout-ms"  # milliseconds the caller will still wait, as Envoy names it

deadline: ContextVar[float | None] = ContextVar("deadline", default=None)  # in time.monotonic()
authorization: ContextVar[str | None] = ContextVar("authorization", default=None)
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class _Retriable(Exception):
    """The call did not reach anybody, or it is safe to make again."""


class ServiceClient:
    """Speaks to one API. Errors of the other side come up as the Problem it answered with."""

    def __init__(
        self, caller: str, api: Api, discovery: Discovery, http: httpx.AsyncClient, service_key: str | None
    ) -> None:
        self._caller, self._api, self._discovery, self._http = caller, api, discovery, http
        self._service_key = service_key
        self._own_token = ("", 0.0)
        self._turn = count()

    @overload
    async def get(self, path: str, *, into: type[T], **request: Any) -> T: ...
    @overload
    async def get(self, path: str, *, into: None = None, **request: Any) -> Any: ...
    async def get(self, path: str, *, into: Any = None, **request: Any) -> Any:
        return await self.call("GET", path, into=into, **request)

    @overload
    async def call(self, method: str, path: str, *, into: type[T], **request: Any) -> T: ...
    @overload
    async def call(self, method: str, path: str, *, into: None = None, **request: Any) -> Any: ...
    async def call(self, method: str, path: str, *, into: Any = None, **request: Any) -> Any:
        """Make a call and validate its answer into a type; without one, the parsed JSON, or None when there is none.

        GET, PUT, DELETE, and POST with an Idempotency-Key are made again when the other side is away for a moment.
        """
        headers = {**request.pop("headers", {}), **self._context()}
        safe = method != "POST" or any(name.lower() == "idempotency-key" for name in headers)
        name = f"{method} {self._api.name}"
        with tracing.span(
            self._caller, name, SpanKind.CLIENT, attributes={"peer.service": self._api.name, "url.path": path}
        ):
            if (parent := tracing.traceparent()) is not None:
                headers["traceparent"] = parent
            try:
                async for attempt in stamina.retry_context(
                    on=_Retriable, attempts=3, wait_initial=0.05, wait_max=0.5, timeout=None
                ):
                    with attempt:
                        answer = await self._once(method, path, headers, safe, request)
            except _Retriable as error:
                raise Unavailable(f"The {self._api.name} service is away.", retry_after=1) from error
        if into is not None:
            return TypeAdapter(into).validate_json(answer.content)
        return answer.json() if answer.content else None

    async def _once(
        self, method: str, path: str, headers: dict[str, str], safe: bool, request: dict[str, Any]
    ) -> httpx.Response:
        seconds = 5.0 if (until := deadline.get()) is None else until - time.monotonic()
        if seconds <= 0:
            raise TimedOut()
        headers[DEADLINE_HEADER] = str(int(seconds * 1000))
        try:
            urls = await self._discovery.resolve(self._api.name)
            url = urls[next(self._turn) % len(urls)]
            answer = await self._http.request(method, url + path, headers=headers, timeout=seconds, **request)
        except (httpx.ConnectError, NotDiscovered) as error:
            raise _Retriable from error
        except httpx.TimeoutException as error:
            raise TimedOut(f"The {self._api.name} service did not answer in time.") from error
        except httpx.TransportError as error:
            if safe:
                raise _Retriable from error
            raise Unavailable(f"The {self._api.name} service broke off.") from error
        if answer.status_code == 503 and safe:
            raise _Retriable
        if answer.status_code >= 400:
            raise _problem(answer)
        return answer

    def _context(self) -> dict[str, str]:
        headers = {"authorization": self._authorization(), "x-request-id": request_id.get()}
        return {name: value for name, value in headers.items() if value is not None}

    def _authorization(self) -> str | None:
        if self._service_key is None:
            return authorization.get()
        token, until = self._own_token
        if until < time.monotonic():
            token = service_token(self._caller, self._service_key)
            self._own_token = (token, time.monotonic() + SERVICE_TOKEN_SECONDS / 2)
        return f"Bearer {token}"


_KINDS = {401: Unauthenticated, 403: Forbidden, 404: NotFound, 504: TimedOut}


def _problem(answer: httpx.Response) -> Problem:
    try:
        body = answer.json()
        others = {
            name: value for name, value in body.items() if name not in ("type", "title", "status", "code", "detail")
        }
        problem = _KINDS.get(answer.status_code, Problem)(
            body["detail"],
            retry_after=int(after) if (after := answer.headers.get("retry-after", "")).isdigit() else None,
            **others,
        )
        problem.status, problem.code = answer.status_code, body["code"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return Unavailable("Another part gave an answer that makes no sense.")
    return problem if problem.status < 500 or problem.status in (503, 504) else Unavailable()
