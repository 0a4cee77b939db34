"""What the simulators share: settings, state in one sqlite file, and requests that are answered once per key.

Each request is one transaction of sqlite, its effect together with its answer, so kill -9 never loses half of one.
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
# Each script runs once, in this order: the user_version of a file is the number of scripts that have run.
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
ANSWER_TTL_SECONDS = 24 * 3600
Answer = tuple[int, dict[str, Any]]
WebhookSender = Literal["carrier", "provider"]


class SimulatorSettings(BaseModel, extra="forbid"):
    """Set by environment variables at the start, and by PUT /settings until the next start."""

    dispatch_seconds: Annotated[float, Field(ge=0)] = 5
    deliver_seconds: Annotated[float, Field(ge=0)] = 5
    slow_seconds: Annotated[float, Field(ge=0)] = 30
    late_seconds: Annotated[float, Field(ge=0)] = 0.5
    webhook_late_seconds: Annotated[float, Field(ge=0)] = 5
    faults: FaultProfile = FaultRates()
    cards: dict[str, Card] = {}  # by token, in place of the provider's own; "*" stands for every other card
    postcodes: dict[str, DeliveryRoute] = {}  # by postcode, in place of the carrier's own; "*" for every other one
    carrier_webhook_url: str = ""  # empty: no webhooks, clients have to poll
    carrier_webhook_secret: str = ""  # base64
    provider_webhook_url: str = ""
    provider_webhook_secret: str = ""
    provider_webhook_seconds: Annotated[float, Field(ge=0)] = 1  # from the answer to its webhook

    def webhook_target(self, sender: WebhookSender) -> tuple[str, str]:
        """The URL to send to, and the secret to sign with."""
        return getattr(self, f"{sender}_webhook_url"), getattr(self, f"{sender}_webhook_secret")

    @model_validator(mode="after")
    def _require_secrets(self) -> Self:
        for sender in get_args(WebhookSender):
            url, secret = self.webhook_target(sender)
            if url and not secret:
                raise ValueError(f"webhooks are signed: set {sender}_webhook_secret")
        return self


class Simulation:
    """The state of the simulators. Statements run in the event loop's thread: sqlite takes microseconds for one."""

    def __init__(self, path: str, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.random = Random(0)  # the same faults in every run
        # Set when something may be due earlier. One event for each loop that sleeps, which clears its own.
        self.parcels_changed, self.webhooks_changed = asyncio.Event(), asyncio.Event()
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.executescript(_PRAGMAS)
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        for number, script in enumerate(_VERSIONS[version:], version + 1):
            self._database.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")

    async def sleep_until(self, due_at: float | None, changed: asyncio.Event) -> None:
        """Sleep until this moment, or until the event is set."""
        with suppress(TimeoutError):
            seconds = None if due_at is None else max(0, due_at - time.time())
            await asyncio.wait_for(changed.wait(), seconds)

    def execute(self, sql: str, *values: object, **named: object) -> list[dict[str, Any]]:
        """Run a statement. Returns the rows that it gives."""
        return [dict(row) for row in self._database.execute(sql, named or values)]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    async def answer_once(
        self, key: str, request: str, act: Callable[[], Answer], fault: Fault | None = None
    ) -> Response:
        """Act once per idempotency key and repeat that answer for a day. The first request suffers the fault."""
        with self.transaction():
            now = time.time()
            self.execute("DELETE FROM requests WHERE at < ?", now - ANSWER_TTL_SECONDS)
            (row,) = self.execute(
                "INSERT INTO requests (key, request, asked, at) VALUES (?, ?, 1, ?)"
                " ON CONFLICT (key) DO UPDATE SET asked = asked + 1 RETURNING *",
                key,
                request,
                now,
            )
            if row["request"] != request:
                return reply((409, {"code": "idempotency_key_reused"}))
            applied = fault if row["asked"] == 1 else None
            if applied == "unavailable":
                return reply(_UNAVAILABLE)
            if row["answer"] is None:
                row["status"], answer = act()
                row["answer"] = json.dumps(answer)
                self.execute("UPDATE requests SET status = :status, answer = :answer WHERE key = :key", **row)
        return await self.apply_fault(applied, reply((row["status"], json.loads(row["answer"]))))

    def is_first_request(self, key: str) -> bool:
        """Whether a request without an idempotency key is the first of its kind."""
        sql = "INSERT INTO requests (key, asked, at) VALUES (?, 1, ?) ON CONFLICT (key) DO NOTHING RETURNING key"
        return bool(self.execute(sql, key, time.time()))

    async def apply_fault(self, fault: Fault | None, answer: Response) -> Response:
        """Delay or replace the answer to a request that was carried out."""
        if fault in ("late", "slow"):
            await asyncio.sleep(self.settings.late_seconds if fault == "late" else self.settings.slow_seconds)
        return reply(_BROKEN) if fault == "breaks" else answer


class FaultInjectingRoute(APIRoute):
    """A route whose requests suffer from the fault rates: `APIRouter(route_class=FaultInjectingRoute)`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        act = super().get_route_handler()

        async def handle(request: Request) -> Response:
            simulation = _simulation(request)
            fault = simulation.settings.faults.draw_fault(simulation.random)
            if fault == "unavailable":
                return reply(_UNAVAILABLE)
            return await simulation.apply_fault(fault, await act(request))

        return handle


_UNAVAILABLE: Answer = (503, {"code": "unavailable"})
_BROKEN: Answer = (500, {"code": "internal"})


def reply(answer: Answer) -> JSONResponse:
    return JSONResponse(answer[1], answer[0])


def _simulation(request: Request) -> Simulation:
    simulation: Simulation = request.app.state.simulation
    return simulation


CurrentSimulation = Annotated[Simulation, Depends(_simulation)]
IdempotencyKey = Annotated[str, Header(alias="Idempotency-Key", min_length=8, max_length=200)]
