"""Routes whose request is one transaction: it is committed before the answer leaves."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from chassis.calls import client
from chassis.database.unit_of_work import UnitOfWork
from chassis.errors import Problem
from chassis.web.dependencies import IDEMPOTENCY_KEY, get_caller, runtime_of
from chassis.web.idempotency import AnsweredBefore, Idempotency
from chassis.web.problems import response_to


class TransactionRoute(APIRoute):
    """A route whose unit of work is committed when the answer is made and before it is sent.

    A problem rolls it back, unless the problem `commits`. A request to a route that declares an `IdempotencyKey` is
    answered once.
    """

    @property
    def is_idempotent(self) -> bool:
        return any(header.alias == IDEMPOTENCY_KEY for header in self.dependant.header_params)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer, is_idempotent = super().get_route_handler(), self.is_idempotent

        async def handle(request: Request) -> Response:
            async with runtime_of(request).database.work() as work:
                work.correlation_id = client.request_id.get()
                request.state.work = work
                if is_idempotent and (key := request.headers.get(IDEMPOTENCY_KEY)):
                    return await _answer_once(request, key, work, answer)
                try:
                    return await answer(request)
                except Problem as problem:
                    if not problem.commits:
                        raise
                    return response_to(problem)

        return handle


async def _answer_once(
    request: Request, key: str, work: UnitOfWork[Any], answer: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Two requests with one key may race: the loser gets the winner's answer, also when the loser met a problem."""
    caller = (await get_caller(request)).subject
    once = Idempotency(key, caller, request, await request.body())
    if (first := await once.first_answer(work)) is not None:
        return first
    work.before_begin = lambda: once.claim(work)
    try:
        response = await answer(request)
        await once.store(work, response)
    except (Problem, AnsweredBefore):
        await work.rollback()
        if (first := await once.first_answer(work)) is not None:
            return first
        raise
    return response


class Router(APIRouter):
    """An APIRouter of transactions."""

    def __init__(self, **options: Any) -> None:
        super().__init__(route_class=TransactionRoute, **options)
