"""Webhooks, signed as the Standard Webhooks specification 1.0.0 demands, and repeated until they are answered 2xx."""

import asyncio
import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
from standardwebhooks import Webhook

from simulators.simulation import Simulation, WebhookSender

_MAX_PAUSE_SECONDS = 60  # between two tries
_MAX_CONCURRENT = 20  # with more, each would wait longer for a connection than for an answer, and none would succeed


def schedule_webhook(
    simulation: Simulation, sender: WebhookSender, type: str, about: dict[str, Any], delay_seconds: float = 0
) -> None:
    """Write a webhook in the current transaction, to be sent after a delay. Without a URL to send to, do nothing."""
    if not simulation.settings.webhook_target(sender)[0]:
        return
    body = {"type": type, **about, "occurred_at": datetime.now(UTC).isoformat()}
    late = simulation.random.random() < simulation.settings.faults.webhook_late
    late_seconds = simulation.random.uniform(0, simulation.settings.webhook_late_seconds) if late else 0
    due_at = time.time() + delay_seconds + late_seconds
    sql = "INSERT INTO webhooks (id, recipient, body, tries, due_at) VALUES (?, ?, ?, 0, ?)"
    simulation.execute(sql, f"msg_{uuid4().hex}", sender, json.dumps(body), due_at)
    simulation.webhooks_changed.set()


async def deliver_webhooks(simulation: Simulation) -> None:
    """Send due webhooks, a limited number at once. Sleep until the next is due, or until a send has ended."""
    sending: set[asyncio.Task[None]] = set()

    def forget(task: asyncio.Task[None]) -> None:
        sending.discard(task)
        simulation.webhooks_changed.set()

    async with httpx.AsyncClient(timeout=5) as http, asyncio.TaskGroup() as tasks:
        while True:
            simulation.webhooks_changed.clear()
            for webhook in _lease_due(simulation, _MAX_CONCURRENT - len(sending)):
                task = tasks.create_task(_send(simulation, http, webhook))
                sending.add(task)
                task.add_done_callback(forget)
            full = len(sending) == _MAX_CONCURRENT
            await simulation.sleep_until(None if full else _next_due_at(simulation), simulation.webhooks_changed)


def _lease_due(simulation: Simulation, limit: int) -> list[dict[str, Any]]:
    """The due webhooks. Each gets its next due time before it is sent, so that a crash only delays it."""
    return simulation.execute(
        f"UPDATE webhooks SET tries = tries + 1, due_at = ?1 + min({_MAX_PAUSE_SECONDS}, 1 << min(tries, 10))"
        " WHERE id IN (SELECT id FROM webhooks WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2) RETURNING *",
        time.time(),
        limit,
    )


async def _send(simulation: Simulation, http: httpx.AsyncClient, webhook: dict[str, Any]) -> None:
    now, id, body = datetime.now(UTC), webhook["id"], webhook["body"]
    url, secret = simulation.settings.webhook_target(webhook["recipient"])
    if not url:
        return
    headers = {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(id, now, body),
    }
    with suppress(httpx.HTTPError, httpx.InvalidURL):  # the next try is scheduled already
        answer = await http.post(url, content=body, headers=headers)
        duplicate = simulation.random.random() < simulation.settings.faults.webhook_duplicate
        if answer.is_success and not duplicate:
            simulation.execute("DELETE FROM webhooks WHERE id = ?", id)


def _next_due_at(simulation: Simulation) -> float | None:
    (next_one,) = simulation.execute("SELECT min(due_at) AS due_at FROM webhooks")
    return next_one["due_at"]  # type: ignore[no-any-return]
