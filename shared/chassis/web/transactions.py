"""Routes whose request is one transaction: it is committed before the answer leaves."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from chassis.calls import client
from chassis.database.unit_of_work import UnitOfWork
from chassis.errors import Problem
from chassis.web.dependencies import IDEMPOTENCY_KEY, _caller, _runtime
from chassis.web.idempotency import AnsweredBefore, Idempotency


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
        await work.rollback()
        if (first := await once.first_answer(work)) is not None:
            return first
        raise
    return response


class Router(APIRouter):
    """An APIRouter of transactions."""

    def __init__(self, **options: Any) -> None:
        super().__init__(route_class=Transaction, **options)
