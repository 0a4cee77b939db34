"""What a route can ask for in its signature: the unit of work, the runtime, who calls, and the idempotency key."""

from typing import Annotated, Any, cast

from fastapi import Depends, Header, Request
from fastapi.security import HTTPBearer

from chassis.calls.auth import Token
from chassis.database.unit_of_work import UnitOfWork
from chassis.errors import Unauthenticated
from chassis.service import Runtime as _Runtime

IDEMPOTENCY_KEY = "Idempotency-Key"


def _runtime(request: Request) -> _Runtime:
    return cast(_Runtime, request.app.state.runtime)


async def _work(request: Request) -> UnitOfWork:
    return cast(UnitOfWork, request.state.work)


async def _caller(request: Request, _: Annotated[Any, Depends(HTTPBearer(auto_error=False))] = None) -> Token:
    scheme, _, raw = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not raw:
        raise Unauthenticated()
    return await _runtime(request).tokens.verify(raw)


# Dependencies are coroutines: FastAPI would send a plain function to a thread and wait for it, three times a request.
Caller = Annotated[Token, Depends(_caller)]


async def _its_runtime(request: Request) -> _Runtime:
    return _runtime(request)


def _with_role(role: str) -> Any:
    async def demand(caller: Caller) -> Token:
        return caller.require_role(role)

    return Depends(demand)


Runtime = Annotated[_Runtime, Depends(_its_runtime)]
Work = Annotated[UnitOfWork, Depends(_work)]
Staff = Annotated[Token, _with_role("staff")]
Operator = Annotated[Token, _with_role("operator")]
ServiceCaller = Annotated[Token, _with_role("service")]
IdempotencyKey = Annotated[str, Header(alias=IDEMPOTENCY_KEY, min_length=1, max_length=200)]
