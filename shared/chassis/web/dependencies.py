"""What a route can ask for in its signature (dependency injection): unit of work, runtime, caller, idempotency key."""

from typing import Annotated, Any, cast

from fastapi import Depends, Header, Request
from fastapi.security import HTTPBearer

from chassis.calls.auth import Token
from chassis.database.unit_of_work import S, UnitOfWork
from chassis.errors import Unauthenticated
from chassis.service import Runtime as _Runtime

IDEMPOTENCY_KEY = "Idempotency-Key"
BEARER = HTTPBearer(auto_error=False, bearerFormat="JWT", description="An access token from `POST /tokens`.")


def runtime_of(request: Request) -> _Runtime[Any]:
    return cast(_Runtime[Any], request.app.state.runtime)


# Dependencies are coroutines: FastAPI would send a plain function to a thread and wait for it, three times a request.


async def get_runtime(request: Request) -> _Runtime[Any]:
    return runtime_of(request)


async def get_work(request: Request) -> UnitOfWork[Any]:
    return cast(UnitOfWork[Any], request.state.work)


async def get_caller(request: Request, _: Annotated[Any, Depends(BEARER)] = None) -> Token:
    scheme, _, raw = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not raw:
        raise Unauthenticated()
    return await runtime_of(request).token_verifier.verify(raw)


Caller = Annotated[Token, Depends(get_caller)]


class RequiredRole:
    """A dependency that lets only callers with a role pass."""

    def __init__(self, role: str) -> None:
        self.role = role

    async def __call__(self, caller: Caller) -> Token:
        return caller.require_role(self.role)


Runtime = Annotated[_Runtime[S], Depends(get_runtime)]
Work = Annotated[UnitOfWork[S], Depends(get_work)]
Staff = Annotated[Token, Depends(RequiredRole("staff"))]
Operator = Annotated[Token, Depends(RequiredRole("operator"))]
ServiceCaller = Annotated[Token, Depends(RequiredRole("service"))]
IdempotencyKey = Annotated[
    str,
    Header(
        alias=IDEMPOTENCY_KEY,
        min_length=1,
        max_length=200,
        pattern="^[ -~]+$",  # printable ASCII, as the draft wants it; calls pass it on as a header
        description="A value that the client makes up for this request, such as a UUID. A request repeated with the "
        "same key and the same body gets the first answer, for 24 hours, and nothing is done twice.",
        examples=["7b0f6a52-9a0c-4c5e-8b62-5f1f8f4d3a11"],
    ),
]
