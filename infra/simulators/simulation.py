"""What provider and carrier share: settings, memory in one sqlite file, and requests that are answered once per key.

Each request is one transaction of sqlite, its effect together with its answer, so a kill -9 loses no half of one.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Annotated, Any, Literal, Self, get_args

from fastapi import Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, model_validator

from simulators.faults import Card, DeliveryRoute, Fault, FaultProfile, FaultRates

_PRAGMAS = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
# Run once each, in this order: a file keeps the number of those it has seen in its user_version.
_VERSIONS = [
    """
CREATE TABLE IF NOT EXISTS requests (key TEXT PRIMARY KEY, request TEXT, asked INTEGER, status INTEGER, answer TEXT);
CREATE TABLE IF NOT EXISTS payments (
    id TEXT PRIMARY KEY, reference TEXT, amount_cents INTEGER, currency TEXT, token TEXT, status TEXT, reason TEXT);
CREATE INDEX IF NOT EXISTS payments_reference ON payments (reference);
CREATE TABLE IF NOT EXISTS shipments (
    id TEXT PRIMARY KEY, reference TEXT, tracking_code TEXT, status TEXT, due_at REAL);
CREATE INDEX IF NOT EXISTS shipments_reference ON shipments (reference);
CREATE INDEX IF NOT EXISTS shipments_due ON shipments (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS webhooks (id TEXT PRIMARY KEY, body TEXT, tries INTEGER, due_at REAL);
CREATE INDEX IF NOT EXISTS webhooks_due ON webhooks (due_at);
""",
    """
ALTER TABLE webhooks ADD COLUMN recipient TEXT NOT NULL DEFAULT 'carrier';
ALTER TABLE requests ADD COLUMN at REAL NOT NULL DEFAULT 0;
UPDATE requests SET at = unixepoch();
CREATE INDEX requests_at ON requests (at);
ALTER TABLE payments ADD COLUMN captured_cents INTEGER NOT NULL DEFAULT 0;
ALTER TABLE payments ADD COLUMN refunded_cents INTEGER NOT NULL DEFAULT 0;
ALTER TABLE payments ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
UPDATE payments SET changed = rowid, captured_cents = iif(status IN ('captured', 'refunded'), amount_cents, 0),
    refunded_cents = iif(status = 'refunded', amount_cents, 0);
CREATE UNIQUE INDEX payments_changed ON payments (changed);
CREATE TABLE refunds (id TEXT PRIMARY KEY, payment_id TEXT, reference TEXT, amount_cents INTEGER);
CREATE INDEX refunds_reference ON refunds (payment_id, reference);
""",
    "ALTER TABLE shipments ADD COLUMN postcode TEXT NOT NULL DEFAULT '';",
    """
CREATE TABLE mails (
    id INTEGER PRIMARY KEY, recipient TEXT, sender TEXT, message_id TEXT, subject TEXT, headers TEXT, text TEXT,
    html TEXT, at REAL);
CREATE INDEX mails_recipient ON mails (recipient, id);
""",
]
ANSWERS_KEPT_SECONDS = 24 * 3600
Answer = tuple[int, dict[str, Any]]
Recipient = Literal["carrier", "provider"]  # whose webhooks these are


class SimulatorSettings(BaseModel, extra="forbid"):
    """What can be told at the start by the environment and at run time by PUT /settings (until the next start)."""

    dispatch_seconds: Annotated[float, Field(ge=0)] = 5
    deliver_seconds: Annotated[float, Field(ge=0)] = 5
    slow_seconds: Annotated[float, Field(ge=0)] = 30
    late_seconds: Annotated[float, Field(ge=0)] = 0.5
    webhook_late_seconds: Annotated[float, Field(ge=0)] = 5
    faults: FaultProfile = FaultRates()
    cards: dict[str, Card] = {}  # by token, before those the provider knows; "*" is every card
    postcodes: dict[str, DeliveryRoute] = {}  # the same for parcels, by postcode
    carrier_webhook_url: str = ""  # empty: the carrier does not call back, one has to ask
    carrier_webhook_secret: str = ""  # base64
    provider_webhook_url: str = ""  # the same for the provider
    provider_webhook_secret: str = ""
    provider_webhook_seconds: Annotated[float, Field(ge=0)] = 1  # its news come a little after its answers

    def webhook(self, recipient: Recipient) -> tuple[str, str]:
        """Where to, and the secret to sign with."""
        return getattr(self, f"{recipient}_webhook_url"), getattr(self, f"{recipient}_webhook_secret")

    @model_validator(mode="after")
    def _can_sign(self) -> Self:
        for recipient in get_args(Recipient):
            url, secret = self.webhook(recipient)
            if url and not secret:
                raise ValueError(f"webhooks are signed: {recipient}_webhook_secret is needed")
        return self


class Simulation:
    """The sqlite file is used in the event loop's thread alone: a statement takes microseconds."""

    def __init__(self, path: str, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.chance = Random(0)  # the same bad luck in every run
        # Something may be due earlier. One for each that waits: it clears its own and would miss what another clears.
        self.parcels_changed, self.webhooks_changed = asyncio.Event(), asyncio.Event()
        self._state = sqlite3.connect(path, isolation_level=None)
        self._state.row_factory = sqlite3.Row
        self._state.executescript(_PRAGMAS)
        (seen,) = self._state.execute("PRAGMA user_version").fetchone()
        for number, script in enumerate(_VERSIONS[seen:], seen + 1):
            self._state.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")

    async def until(self, due_at: float | None, changed: asyncio.Event) -> None:
        """Sleep until this moment, or until something changes."""
        with suppress(TimeoutError):
            seconds = None if due_at is None else max(0, due_at - time.time())
            await asyncio.wait_for(changed.wait(), seconds)

    def rows(self, sql: str, *values: object, **named: object) -> list[dict[str, Any]]:
        return [dict(row) for row in self._state.execute(sql, named or values)]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._state.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._state.execute("ROLLBACK")
            raise
        self._state.execute("COMMIT")

    async def answer(self, key: str, request: str, act: Callable[[], Answer], fault: Fault | None = None) -> Response:
        """Act once per idempotency key and give that answer for a day; the first time, with the fault asked for."""
        with self.transaction():
            now = time.time()
            self.rows("DELETE FROM requests WHERE at < ?", now - ANSWERS_KEPT_SECONDS)
            (seen,) = self.rows(
                "INSERT INTO requests (key, request, asked, at) VALUES (?, ?, 1, ?)"
                " ON CONFLICT (key) DO UPDATE SET asked = asked + 1 RETURNING *",
                key,
                request,
                now,
            )
            if seen["request"] != request:
                return reply((409, {"code": "idempotency_key_reused"}))
            applied = fault if seen["asked"] == 1 else None
            if applied == "unavailable":
                return reply(_UNAVAILABLE)
            if seen["answer"] is None:
                seen["status"], answer = act()
                seen["answer"] = json.dumps(answer)
                self.rows("UPDATE requests SET status = :status, answer = :answer WHERE key = :key", **seen)
        return await self.apply_fault(applied, reply((seen["status"], json.loads(seen["answer"]))))

    def first(self, key: str) -> bool:
        """Whether this is asked for the first time, of what needs no idempotency key."""
        sql = "INSERT INTO requests (key, asked, at) VALUES (?, 1, ?) ON CONFLICT (key) DO NOTHING RETURNING key"
        return bool(self.rows(sql, key, time.time()))

    async def apply_fault(self, fault: Fault | None, answer: Response) -> Response:
        """What becomes of the answer to something that was done."""
        if fault in ("late", "slow"):
            await asyncio.sleep(self.settings.late_seconds if fault == "late" else self.settings.slow_seconds)
        return reply(_BROKEN) if fault == "breaks" else answer


class FaultInjectingRoute(APIRoute):
    """A route that suffers from the faults of the world: `APIRouter(route_class=FaultInjectingRoute)`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        act = super().get_route_handler()

        async def handle(request: Request) -> Response:
            world = _world(request)
            fault = world.settings.faults.fault(world.chance)
            return reply(_UNAVAILABLE) if fault == "unavailable" else await world.apply_fault(fault, await act(request))

        return handle


_UNAVAILABLE: Answer = (503, {"code": "unavailable"})
_BROKEN: Answer = (500, {"code": "internal"})


def reply(answer: Answer) -> JSONResponse:
    return JSONResponse(answer[1], answer[0])


def _world(request: Request) -> Simulation:
    world: Simulation = request.app.state.world
    return world


CurrentSimulation = Annotated[Simulation, Depends(_world)]
IdempotencyKey = Annotated[str, Header(alias="Idempotency-IdempotencyKey", min_length=8, max_length=200)]
