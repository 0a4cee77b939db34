"""A member of a group on Pulsar."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from pulsar import Message
from pulsar.asyncio import Consumer, PulsarException

from chassis.brokers.port import BrokerUnavailable
from chassis.message import Envelope

ACKNOWLEDGE_SECONDS = 5
LINGER_SECONDS = 0.001  # messages that arrive together are handled together
CLOSE_SECONDS = 5


class PulsarSubscription:
    """A consumer with one pending `receive`: cancelling it would lose the next message."""

    def __init__(self, consumer: Consumer) -> None:
        self.lost = asyncio.Event()  # never set: the client does not report it; the inbox finds doubles
        self._consumer = consumer
        self._receiving: asyncio.Future[Message] | None = None
        self._received: list[Message] = []

    async def receive(self, limit: int) -> list[Envelope]:
        while not self._received:
            await self._take(None)
        while len(self._received) < limit and await self._take(LINGER_SECONDS):
            pass
        return [_envelope(message) for message in self._received]

    async def _take(self, seconds: float | None) -> bool:
        """Whether a message arrived within this time. A later message is there for the next call."""
        receiving = self._receiving = self._receiving or asyncio.ensure_future(self._consumer.receive())
        await asyncio.wait({receiving}, timeout=seconds)
        if not receiving.done():
            return False
        self._receiving = None
        try:
            self._received.append(receiving.result())
        except PulsarException as error:
            raise BrokerUnavailable(f"Pulsar: {error}") from error
        return True

    async def acknowledge(self) -> None:
        received, self._received = self._received, []
        try:
            async with asyncio.timeout(ACKNOWLEDGE_SECONDS):  # a broker that does not answer counts as away
                await asyncio.gather(*map(self._consumer.acknowledge, received))
        except (TimeoutError, PulsarException) as error:
            raise BrokerUnavailable(f"Pulsar did not take the acknowledgement: {error!r}") from error

    async def close(self) -> None:
        await within(CLOSE_SECONDS, self._consumer.close())
        if self._receiving is not None:
            await within(CLOSE_SECONDS, self._receiving)


def _envelope(message: Message) -> Envelope:
    topic = message.topic_name().rpartition("/")[2].partition("-partition-")[0]
    key, properties = "", {}
    with suppress(UnicodeDecodeError):  # a foreign message: unreadable, so it becomes a dead letter
        key = message.partition_key()
        properties = message.properties()
    return Envelope.read(topic, key, [(name, value.encode()) for name, value in properties.items()], message.data())


async def within(seconds: float, *closing: "Coroutine[Any, Any, None] | asyncio.Future[Any]") -> None:
    """Give each this time to end, with or without an error: the other side may be gone."""
    ending = [asyncio.ensure_future(it) for it in closing]
    for it in ending:
        it.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # reads a late error, too
    if ending:
        await asyncio.wait(ending, timeout=seconds)
