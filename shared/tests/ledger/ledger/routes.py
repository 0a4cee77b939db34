"""The ledger over HTTP: what tests of the web side and of the client need."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from chassis.errors import NotFound, Unavailable
from chassis.web import IDEMPOTENCY_KEY, Caller, Router, Runtime, Staff, Work
from ledger.messages import Book, peer
from ledger.models import Account

router = Router(prefix="/accounts")
Key = Annotated[str | None, Header(alias=IDEMPOTENCY_KEY)]  # where one may be given and need not


class AccountNotFound(NotFound):
    code, detail = "account_not_found", "There is no such account."


class Booking(BaseModel, extra="forbid"):
    number: int
    amount: int = Field(default=1, le=1_000)
    pause: float = 0
    text: str = ""


@router.get("/{id}")
async def account(id: str, work: Work) -> dict[str, Any]:
    (found, *_) = await work.lock(Account, id=[id]) or [None]
    if found is None:
        raise AccountNotFound(field="id")
    return {"id": found.id, "balance": found.balance, "history": found.history}


@router.post("", status_code=201)
async def open_account(booking: Booking, work: Work, caller: Caller, _: Key = None) -> dict[str, int]:
    """Begins no transaction by itself."""
    work.add(Account.new(id=str(booking.number), history=[]))
    return {"number": booking.number}


@router.post("/{id}/bookings", status_code=201)
async def book(
    id: str, booking: Booking, work: Work, caller: Caller, response: Response, _: Key = None
) -> dict[str, int]:
    (found, *_) = await work.lock(Account, id=[id]) or [work.add(Account.new(id=id, history=[]))]
    await asyncio.sleep(booking.pause)
    found.balance += booking.amount
    found.history = [*found.history, booking.number]
    response.headers["location"] = f"/accounts/{id}"
    return {"balance": found.balance}


@router.post("/{id}/commands", status_code=202)
async def ask_to_book(id: str, work: Work, _: Key = None) -> None:
    await work.begin()
    work.send(Book(account=id, number=1, statement=True))


@router.get("/{id}/secret")
async def secret(id: str, caller: Staff) -> None:
    raise RuntimeError("the secret is 4711")


@router.get("/{id}/slow")
async def slow(id: str, runtime: Runtime, peers: int = 0) -> Any:
    """Sleep in this service, or through this number of its peers."""
    if peers:
        return await runtime.call(
            peer.get("/accounts/{id}/slow", Any, query=("peers",)), id=id, query={"peers": peers - 1}
        )
    await asyncio.sleep(20)


streams = APIRouter(prefix="/accounts")


@streams.get("/{id}/stream")
async def stream(id: str, before: float = 0, pauses: int = 0) -> Response:
    """Begin after `before` seconds, then send an event after each pause."""
    await asyncio.sleep(before)

    async def events() -> AsyncIterator[str]:
        for number in range(pauses):
            await asyncio.sleep(0.05)
            yield f"id: {number}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


tries: dict[str, int] = {}


@router.get("/{id}/headers")
@router.post("/{id}/headers")
async def headers(id: str, request: Request, failures: int = 0) -> dict[str, str]:
    """The headers that the caller sent, after this number of failures."""
    tries[id] = tries.get(id, 0) + 1
    if tries[id] <= failures:
        raise Unavailable("Not yet.", retry_after=1)
    return dict(request.headers)


@router.get("/{id}/through")
async def through(id: str, runtime: Runtime, path: str, as_service: bool = False) -> Any:
    """What a peer answers."""
    return await runtime.call(peer.get(f"/accounts/{id}{path}", Any), as_service=as_service)
