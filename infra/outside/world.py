"""What provider and carrier share: settings, memory in one sqlite file, and requests that are answered once per key.

Each request is one transaction of sqlite, its effect together with its answer, so a kill -9 loses no half of one.
"""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal, Self

from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, model_validator

_TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
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
"""
Answer = tuple[int, dict[str, Any]]
# At the first request with a key: not done and 503; done and 500; done and answered after `slow_seconds`.
Trouble = Literal["unavailable", "breaks", "slow"] | None


class Settings(BaseModel, extra="forbid"):
    """What can be told at the start by the environment and at run time by PUT /settings (until the next start)."""

    dispatch_seconds: Annotated[float, Field(ge=0)] = 5
    deliver_seconds: Annotated[float, Field(ge=0)] = 5
    slow_seconds: Annotated[float, Field(ge=0)] = 30
    carrier_webhook_url: str = ""  # empty: the carrier does not call back, one has to ask
    carrier_webhook_secret: str = ""  # base64

    @model_validator(mode="after")
    def _can_sign(self) -> Self:
        if self.carrier_webhook_url and not self.carrier_webhook_secret:
            raise ValueError("webhooks are signed: carrier_webhook_secret is needed")
        return self


class TheWorld:
    """The sqlite file is used in the event loop's thread alone: a statement takes microseconds."""

    def __init__(self, path: str, settings: Settings) -> None:
        self.settings = settings
        self.changed = asyncio.Event()  # wakes the carrier: something may be due earlier
        self._state = sqlite3.connect(path, isolation_level=None)
        self._state.row_factory = sqlite3.Row
        self._state.executescript(_TABLES)

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

    async def answer(self, key: str, request: str, act: Callable[[], Answer], trouble: Trouble = None) -> JSONResponse:
        """Act once per idempotency key and give that answer ever after; the first time, with the trouble asked for."""
        with self.transaction():
            (seen,) = self.rows(
                "INSERT INTO requests VALUES (?, ?, 1, NULL, NULL)"
                " ON CONFLICT (key) DO UPDATE SET asked = asked + 1 RETURNING *",
                key,
                request,
            )
            troubled = trouble if seen["asked"] == 1 else None
            if seen["request"] != request:
                return reply((409, {"code": "idempotency_key_reused"}))
            if troubled == "unavailable":
                return reply((503, {"code": "unavailable"}))
            if seen["answer"] is None:
                seen["status"], answer = act()
                seen["answer"] = json.dumps(answer)
                self.rows("UPDATE requests SET status = :status, answer = :answer WHERE key = :key", **seen)
        if troubled == "slow":
            await asyncio.sleep(self.settings.slow_seconds)
        return reply(
            (500, {"code": "internal"}) if troubled == "breaks" else (seen["status"], json.loads(seen["answer"]))
        )


def reply(answer: Answer) -> JSONResponse:
    return JSONResponse(answer[1], answer[0])


def _world(request: Request) -> TheWorld:
    world: TheWorld = request.app.state.world
    return world


World = Annotated[TheWorld, Depends(_world)]
Key = Annotated[str, Header(alias="Idempotency-Key", min_length=8, max_length=200)]
