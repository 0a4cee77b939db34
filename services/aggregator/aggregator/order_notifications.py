"""Notifications of changed orders: from the process that wrote an order to those in which a client waits for it.

They go through publish and subscribe in Valkey, which stores nothing. A lost notification only delays its reader: a
reader looks at the table before it waits, and again from time to time.
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
from chassis.resilience import Backoff, Debouncer
from chassis.telemetry import Outage
from chassis.web import Runtime

CHANNEL = "orders"
COALESCE_SECONDS = 0.005  # the changes of several commits are published together
TIMEOUT_SECONDS = 1
PING_AFTER_SECONDS = 10
AWAY = (ValkeyError, OSError, TimeoutError)


class OrderNotifications:
    """Publishes the changes of this process, and wakes those of its readers whose order has changed anywhere.

    It is subscribed to the channel as long as there are readers.
    """

    def __init__(self, settings: AggregatorSettings) -> None:
        timeouts: dict[str, Any] = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
        self._valkey = Valkey.from_url(settings.valkey_url, socket_keepalive=True, **timeouts)
        self._outage = Outage("the channel of order notifications", logging.getLogger(__name__))
        self._readers: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)
        self._pending: set[UUID] = set()
        self._publishing = Debouncer(self._publish_pending, delay_seconds=COALESCE_SECONDS)
        self._listening: asyncio.Task[None] | None = None

    def publish(self, ids: Iterable[UUID]) -> None:
        """Publish that these orders have changed, soon and in the background."""
        self._pending.update(ids)
        self._publishing.trigger()

    async def _publish_pending(self) -> None:
        ids, self._pending = self._pending, set()
        try:
            await self._valkey.publish(CHANNEL, b"".join(id.bytes for id in ids))
            self._outage.end()
        except AWAY as error:
            self._outage.begin(error)

    @asynccontextmanager
    async def subscribe(self, id: UUID) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the order has changed, and when notifications may have been missed."""
        changed = asyncio.Event()
        self._readers[id].add(changed)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        try:
            yield changed
        finally:
            self._readers[id].discard(changed)
            if not self._readers[id]:
                del self._readers[id]
            if not self._readers:
                self._listening.cancel()
                self._listening = None

    async def _listen(self) -> None:
        backoff = Backoff()
        while True:
            try:
                async with self._valkey.pubsub() as channel:
                    await channel.subscribe(CHANNEL)
                    while True:
                        self._wake_readers(await _next_message(channel))
                        self._outage.end()
                        backoff.reset()
            except AWAY as error:
                self._outage.begin(error)
                await backoff.pause(asyncio.Event())

    def _wake_readers(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "message", "data": bytes(data)}:
                ids: Iterable[UUID] = (UUID(bytes=data[at : at + 16]) for at in range(0, len(data), 16))
            case {"type": "subscribe"}:  # what was published before did not arrive here
                ids = list(self._readers)
            case _:
                return
        for id in ids:
            for changed in self._readers.get(id, ()):
                changed.set()

    async def close(self) -> None:
        await self._publishing.close(wait_seconds=0)
        if self._listening is not None:
            self._listening.cancel()
        await self._valkey.aclose()


async def _next_message(channel: PubSub) -> dict[str, Any]:
    """The next message. After a silence Valkey is pinged, since a connection may have broken without a sign."""
    message: dict[str, Any] | None = await channel.get_message(timeout=PING_AFTER_SECONDS)
    if message is None:
        await channel.ping()
        message = await channel.get_message(timeout=TIMEOUT_SECONDS)
    if message is None:
        raise TimeoutError
    return message


def publish_changes(runtime: Runtime, orders: Sequence[OrderReadModel]) -> None:
    """Called after each commit that wrote orders."""
    runtime.resource(OrderNotifications).publish(order.order_id for order in orders)
