"""Calling back: webhooks signed as the Standard Webhooks specification 1.0.0 says, repeated until answered 2xx."""

import asyncio
import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
from standardwebhooks import Webhook

from simulators.simulation import Recipient, Simulation

_MOST_SECONDS = 60
_AT_ONCE = 20  # more of them wait longer for a connection than they wait for an answer, and none gets through


def tell(world: Simulation, recipient: Recipient, type: str, about: dict[str, Any], after: float = 0) -> None:
    """Let this be told so many seconds after the transaction it is part of, if it is known where to."""
    if not world.settings.webhook(recipient)[0]:
        return
    body = {"type": type, **about, "occurred_at": datetime.now(UTC).isoformat()}
    late = world.chance.random() < world.settings.faults.webhook_late
    due_at = time.time() + after + (world.chance.uniform(0, world.settings.webhook_late_seconds) if late else 0)
    sql = "INSERT INTO webhooks (id, recipient, body, tries, due_at) VALUES (?, ?, ?, 0, ?)"
    world.rows(sql, f"msg_{uuid4().hex}", recipient, json.dumps(body), due_at)
    world.webhooks_changed.set()


async def work(world: Simulation) -> None:
    """Call back when it is time, a few at once; sleep until then, or until there is room."""
    under_way: set[asyncio.Task[None]] = set()

    def ended(call: asyncio.Task[None]) -> None:
        under_way.discard(call)
        world.webhooks_changed.set()

    async with httpx.AsyncClient(timeout=5) as http, asyncio.TaskGroup() as calls:
        while True:
            world.webhooks_changed.clear()
            for webhook in _due(world, _AT_ONCE - len(under_way)):
                call = calls.create_task(_call_back(world, http, webhook))
                under_way.add(call)
                call.add_done_callback(ended)
            full = len(under_way) == _AT_ONCE
            await world.until(None if full else _next_due_at(world), world.webhooks_changed)


def _due(world: Simulation, limit: int) -> list[dict[str, Any]]:
    """Those to be tried now. Each is put off before it is tried, so one that is lost in a crash is tried again."""
    return world.rows(
        f"UPDATE webhooks SET tries = tries + 1, due_at = ?1 + min({_MOST_SECONDS}, 1 << min(tries, 10))"
        " WHERE id IN (SELECT id FROM webhooks WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2) RETURNING *",
        time.time(),
        limit,
    )


async def _call_back(world: Simulation, http: httpx.AsyncClient, webhook: dict[str, Any]) -> None:
    now, id, body = datetime.now(UTC), webhook["id"], webhook["body"]
    url, secret = world.settings.webhook(webhook["recipient"])
    if not url:
        return
    headers = {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(id, now, body),
    }
    with suppress(httpx.HTTPError, httpx.InvalidURL):  # tried again when it is due
        answer = await http.post(url, content=body, headers=headers)
        again = world.chance.random() < world.settings.faults.webhook_again
        if answer.is_success and not again:
            world.rows("DELETE FROM webhooks WHERE id = ?", id)


def _next_due_at(world: Simulation) -> float | None:
    (next_one,) = world.rows("SELECT min(due_at) AS due_at FROM webhooks")
    return next_one["due_at"]  # type: ignore[no-any-return]
