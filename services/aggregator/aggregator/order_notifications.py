"""News of orders across processes: a consumer says which have changed, and whoever waits for one of them wakes up.

It goes through Valkey's publish and subscribe, which keeps nothing. Who waits looks into the table before and now and
then, so that news that are lost only make it later.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from valkey.asyncio import Valkey
from valkey.asyncio.client import PubSub
from valkey.exceptions import ValkeyError

from aggregator.config import AggregatorSettings
from aggregator.models import OrderReadModel
from chassis.backoff import Backoff
from chassis.logs import Trouble
from chassis.web import Runtime

logger = logging.getLogger(__name__)
CHANNEL = "orders"
COALESCE_SECONDS = 0.005  # news of several commits go out together
TIMEOUT_SECONDS = 1
PING_AFTER_SECONDS = 10
AWAY = (ValkeyError, OSError, TimeoutError)


class OrderNotifications:
    """What one process says and hears. It listens as long as somebody waits."""

    def __init__(self, settings: AggregatorSettings) -> None:
        self._valkey = Valkey.from_url(
            settings.valkey_url,
            socket_connect_timeout=TIMEOUT_SECONDS,
            socket_timeout=TIMEOUT_SECONDS,
            socket_keepalive=True,
        )
        self._outage = Trouble("the news of orders", logger)
        self._waiting: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)
        self._pending: set[UUID] = set()
        self._publishing: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None

    def publish(self, ids: Iterable[UUID]) -> None:
        self._pending.update(ids)
        if self._publishing is None:
            self._publishing = asyncio.create_task(self._publish_pending())

    async def _publish_pending(self) -> None:
        while self._pending:
            await asyncio.sleep(COALESCE_SECONDS)
            ids, self._pending = self._pending, set()
            try:
                await self._valkey.publish(CHANNEL, b"".join(id.bytes for id in ids))
                self._outage.ends()
            except AWAY as error:
                self._outage.begins(error)
        self._publishing = None

    @asynccontextmanager
    async def subscribe(self, id: UUID) -> AsyncIterator[asyncio.Event]:
        """An event that is set at news of the order, and whenever some may have been missed."""
        woken = asyncio.Event()
        self._waiting[id].add(woken)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        try:
            yield woken
        finally:
            self._waiting[id].discard(woken)
            if not self._waiting[id]:
                del self._waiting[id]
            if not self._waiting:
                self._listening.cancel()
                self._listening = None

    async def _listen(self) -> None:
        backoff = Backoff()
        while True:
            try:
                async with self._valkey.pubsub() as channel:
                    await channel.subscribe(CHANNEL)
                    while True:
                        self._wake(await _next_message(channel))
                        self._outage.ends()
                        backoff.reset()
            except AWAY as error:
                self._outage.begins(error)
                await backoff.pause(asyncio.Event())

    def _wake(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "message", "data": bytes(data)}:
                ids: Iterable[UUID] = (UUID(bytes=data[at : at + 16]) for at in range(0, len(data), 16))
            case {"type": "subscribe"}:  # what was said before it was not heard here
                ids = list(self._waiting)
            case _:
                return
        for id in ids:
            for woken in self._waiting.get(id, ()):
                woken.set()

    async def close(self) -> None:
        for task in (self._publishing, self._listening):
            if task is not None:
                task.cancel()
        await self._valkey.aclose()


async def _next_message(channel: PubSub) -> dict[str, Any]:
    """The next message. When it is quiet, the other side is asked for a word: it may be gone without a sign."""
    message: dict[str, Any] | None = await channel.get_message(timeout=PING_AFTER_SECONDS)
    if message is None:
        await channel.ping()
        message = await channel.get_message(timeout=TIMEOUT_SECONDS)
    if message is None:
        raise TimeoutError
    return message


def publish_changes(runtime: Runtime, orders: Sequence[OrderReadModel]) -> None:
    """After each commit that wrote orders."""
    runtime.hold(OrderNotifications).publish(order.order_id for order in orders)
