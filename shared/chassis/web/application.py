"""The HTTP side: each request is one transaction, committed before its answer leaves, and every error is a problem."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any, cast

import asyncpg
from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from opentelemetry.trace import SpanKind
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import errors
from chassis.calls import client
from chassis.calls.auth import Token
from chassis.database.errors import CONFLICT, away
from chassis.database.unit_of_work import UnitOfWork
from chassis.errors import Problem
from chassis.service import Runtime as _Runtime
from chassis.telemetry import logs, metrics, tracing
from chassis.web.idempotency import AnsweredBefore, Idempotency

logger = logging.getLogger(__name__)


IDEMPOTENCY_KEY = "Idempotency-Key"
PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}


def _runtime(request: Request) -> _Runtime:
    return cast(_Runtime, request.app.state.runtime)


async def _work(request: Request) -> UnitOfWork:
    return cast(UnitOfWork, request.state.work)


async def _caller(request: Request, _: Annotated[Any, Depends(HTTPBearer(auto_error=False))] = None) -> Token:
    scheme, _, raw = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not raw:
        raise errors.Unauthenticated()
    return await _runtime(request).tokens.verify(raw)


# Dependencies are coroutines: FastAPI would send a plain function to a thread and wait for it, three times a request.
Caller = Annotated[Token, Depends(_caller)]


async def _its_runtime(request: Request) -> _Runtime:
    return _runtime(request)


def _with_role(role: str) -> Any:
    async def demand(caller: Caller) -> Token:
        return caller.demand(role)

    return Depends(demand)


Runtime = Annotated[_Runtime, Depends(_its_runtime)]
Work = Annotated[UnitOfWork, Depends(_work)]
Staff = Annotated[Token, _with_role("staff")]
Operator = Annotated[Token, _with_role("operator")]
ServiceCaller = Annotated[Token, _with_role("service")]
IdempotencyKey = Annotated[str, Header(alias=IDEMPOTENCY_KEY, min_length=1, max_length=200)]


class Transaction(APIRoute):
    """A route whose unit of work is committed when the answer is made and before it is sent.

    A request to one that declares an `IdempotencyKey` is answered once.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        once = any(header.alias == IDEMPOTENCY_KEY for header in self.dependant.header_params)

        async def handle(request: Request) -> Response:
            async with _runtime(request).database.work() as work:
                work.correlation_id = client.request_id.get()
                request.state.work = work
                if once and (key := request.headers.get(IDEMPOTENCY_KEY)):
                    return await _answer_once(request, key, work, answer)
                return await answer(request)

        return handle


async def _answer_once(
    request: Request, key: str, work: UnitOfWork, answer: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Two requests with one key may race: the one that loses gets the winner's answer, also where it found trouble."""
    caller = (await _caller(request)).subject
    once = Idempotency(key, caller, request, await request.body())
    if (first := await once.first_answer(work)) is not None:
        return first
    work.before_begin = lambda: once.claim(work)
    try:
        response = await answer(request)
        await once.keep(work, response)
    except (Problem, AnsweredBefore):
        await work.undo()
        if (first := await once.first_answer(work)) is not None:
            return first
        raise
    return response


def raises(*problems: type[Problem]) -> dict[int | str, Any]:
    """The `responses=` of a route for the problems that it raises itself, by status, with an example of each.

    What any route may answer (401, 403, 422, 503, …) follows from its dependencies and is not repeated here.
    """
    responses: dict[int | str, Any] = {}
    for problem in problems:
        title = HTTPStatus(problem.status).phrase
        empty = {"description": "", "content": {"application/problem+json": {"schema": PROBLEM_SCHEMA, "examples": {}}}}
        response = responses.setdefault(problem.status, empty)
        response["description"] = f"{response['description']} `{problem.code}`: {problem.detail}".strip()
        example = {"title": title, "status": problem.status, "code": problem.code, "detail": problem.detail}
        response["content"]["application/problem+json"]["examples"][problem.code] = {"value": example}
    return responses


class Router(APIRouter):
    """An APIRouter of transactions."""

    def __init__(self, **options: Any) -> None:
        super().__init__(route_class=Transaction, **options)


class Requests:
    """Around every request: its trace, deadline, caller and size, its metrics, and what nobody else caught."""

    def __init__(self, app: ASGIApp, runtime: _Runtime) -> None:
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
                await problem_of(error).response()(scope, receive, note_start)
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
            raise errors.BodyTooLarge()
        message = await self._receive()
        if not self._bytes or self._bytes < 0:
            self._bytes -= len(message.get("body", b""))
            if -self._bytes > self._limit:
                raise errors.BodyTooLarge()
        return message


def _milliseconds(header: str | None) -> float:
    """As seconds; without the header, as long as we let it."""
    return int(header) / 1000 if header and header.isdigit() else float("inf")


def problem_of(error: Exception) -> Problem:
    """Every error as a problem; what is ours to mend is logged here, once."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        if isinstance(error.__cause__, Problem):  # FastAPI takes all that goes wrong while a body is read for a 400
            return error.__cause__
        return {400: errors.InvalidJson, 404: errors.NotFound, 405: errors.MethodNotAllowed}.get(
            error.status_code, errors.InvalidInput
        )()
    if isinstance(error, TimeoutError):
        return errors.TimedOut()
    if isinstance(error, CONFLICT):
        return errors.Conflict()
    if isinstance(error, (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)):
        return errors.InvalidInput("A text holds a NUL, which cannot be stored.")
    if away(error):
        logger.warning("the database was away for a request", extra={"error": repr(error)})
        return errors.Unavailable(retry_after=1)
    logger.error("a request failed", exc_info=error)
    return Problem()


def _invalid(error: RequestValidationError) -> Problem:
    found = error.errors()
    if any(it["type"] == "json_invalid" for it in found):
        return errors.InvalidJson()
    fields = [
        {
            "field": ".".join(str(part) for part in it["loc"][1:]) or str(it["loc"][0]),
            "code": it["type"],
            "detail": it["msg"],
        }
        for it in found
    ]
    return errors.InvalidInput(errors=fields)


async def _render(request: Request, error: Exception) -> Response:
    return problem_of(error).response()


def application(runtime: _Runtime, *more: APIRouter) -> FastAPI:
    """The ASGI application of a service."""
    service = runtime.service
    app = FastAPI(title=service.name, openapi_url="/openapi.json", docs_url=None, redoc_url=None)
    app.state.runtime = runtime
    for router in [*service.routers, *more]:
        app.include_router(router)
    for kind in (Problem, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _render)
    app.add_middleware(Requests, runtime=runtime)
    return app
