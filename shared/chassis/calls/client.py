"""Calling another service: found by name, within the request deadline, with the caller's token and trace."""

import time
from collections.abc import Mapping
from contextvars import ContextVar
from itertools import count
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import stamina
from opentelemetry.trace import SpanKind
from pydantic import BaseModel

from chassis.calls.auth import SERVICE_TOKEN_SECONDS, service_token
from chassis.calls.discovery import Discovery, NotDiscovered
from chassis.calls.operation import Api, Operation
from chassis.errors import Forbidden, NotFound, Problem, TimedOut, Unauthenticated, Unavailable
from chassis.telemetry import tracing

T = TypeVar("T")
DEADLINE_HEADER = "x-envoy-expected-rq-timeout-ms"  # milliseconds the caller will still wait, as Envoy names it

deadline: ContextVar[float | None] = ContextVar("deadline", default=None)  # in time.monotonic()
authorization: ContextVar[str | None] = ContextVar("authorization", default=None)
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class _Retriable(Exception):
    """The call reached no instance, or the call is safe to repeat."""


class ServiceClient:
    """Calls one API. An error of the other side is raised as the Problem that it answered with."""

    def __init__(
        self, caller: str, api: Api, discovery: Discovery, http: httpx.AsyncClient, service_key: str | None
    ) -> None:
        self._caller, self._api, self._discovery, self._http = caller, api, discovery, http
        self._service_key = service_key
        self._own_token = ("", 0.0)
        self._round_robin = count()

    async def call(
        self,
        operation: Operation[T],
        *,
        body: BaseModel | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **path: Any,
    ) -> T:
        """Call an operation with the parameters of its path, and return its answer as its type.

        GET, PUT, DELETE, and POST with an Idempotency-Key are repeated when the other side is away for a moment.
        """
        if unknown := (query or {}).keys() - set(operation.query):
            raise TypeError(f"{operation.method} {operation.path} declares no query {', '.join(unknown)}")
        sent = {**(headers or {}), **self._context()}
        request: dict[str, Any] = {"params": query}
        if body is not None:
            sent["content-type"] = "application/json"
            request["content"] = body.model_dump_json()
        url = operation.path.format(**{name: quote(str(value), safe="") for name, value in path.items()})
        safe = operation.method != "POST" or any(name.lower() == "idempotency-key" for name in sent)
        name = f"{operation.method} {self._api.name}"
        attributes = {"peer.service": self._api.name, "url.template": operation.path}
        with tracing.span(self._caller, name, SpanKind.CLIENT, attributes=attributes):
            if (parent := tracing.traceparent()) is not None:
                sent["traceparent"] = parent
            try:
                async for attempt in stamina.retry_context(
                    on=_Retriable, attempts=3, wait_initial=0.05, wait_max=0.5, timeout=None
                ):
                    with attempt:
                        answer = await self._attempt(operation, url, sent, safe, request)
            except _Retriable as error:
                raise Unavailable(f"The {self._api.name} service is away.", retry_after=1) from error
        return operation.read(answer.content)

    async def _attempt(
        self, operation: Operation[Any], path: str, headers: dict[str, str], safe: bool, request: dict[str, Any]
    ) -> httpx.Response:
        seconds = 5.0 if (until := deadline.get()) is None else until - time.monotonic()
        if seconds <= 0:
            raise TimedOut()
        headers[DEADLINE_HEADER] = str(int(seconds * 1000))
        try:
            urls = await self._discovery.resolve(self._api.name)
            url = urls[next(self._round_robin) % len(urls)]
            answer = await self._http.request(operation.method, url + path, headers=headers, timeout=seconds, **request)
        except (httpx.ConnectError, NotDiscovered) as error:
            raise _Retriable from error
        except httpx.TimeoutException as error:
            raise TimedOut(f"The {self._api.name} service did not answer in time.") from error
        except httpx.TransportError as error:
            if safe:
                raise _Retriable from error
            raise Unavailable(f"The {self._api.name} service closed the connection.") from error
        if answer.status_code == 503 and safe:
            raise _Retriable
        if answer.status_code >= 400:
            raise _problem(answer, operation)
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


_PROBLEMS = {401: Unauthenticated, 403: Forbidden, 404: NotFound, 504: TimedOut}


def _problem(answer: httpx.Response, operation: Operation[Any]) -> Problem:
    """The problem of the answer, as the class that the operation declares for its code, if it declares one."""
    declared = {problem.code: problem for problem in operation.problems}
    try:
        body = answer.json()
        others = {
            name: value for name, value in body.items() if name not in ("type", "title", "status", "code", "detail")
        }
        kind = declared.get(body["code"]) or _PROBLEMS.get(answer.status_code, Problem)
        problem = kind(
            body["detail"],
            retry_after=int(after) if (after := answer.headers.get("retry-after", "")).isdigit() else None,
            **others,
        )
        problem.status, problem.code = answer.status_code, body["code"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return Unavailable("Another service gave an answer that is not a problem.")
    return problem if problem.status < 500 or problem.status in (503, 504) else Unavailable()
