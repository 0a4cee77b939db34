"""Numbered messages, dealt to keys in turn: all at once, or as a stream in whose middle something happens."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from chassis.brokers.port import BrokerUnavailable
from chassis.message import Envelope

KEYS = [f"key{number}" for number in range(20)]
Put = Callable[[Sequence[Envelope]], Awaitable[None]]  # `Broker.publish`, or a transaction that writes to an outbox


def envelopes(topic: str, numbers: range, keys: Sequence[str] = KEYS) -> list[Envelope]:
    """Numbered messages, dealt to the keys in turn."""
    now = datetime.now(UTC)
    return [
        Envelope(topic, keys[number % len(keys)], id, "test.counted.v1", "test", now, str(number).encode(), str(id))
        for number, id in ((number, uuid4()) for number in numbers)
    ]


def dealt(count: int, keys: Sequence[str] = KEYS) -> dict[str, list[int]]:
    """What `envelopes` made, by key."""
    return {key: list(range(place, count, len(keys))) for place, key in enumerate(keys) if place < count}


async def put_all(put: Put, messages: Sequence[Envelope]) -> None:
    """In small parts, each again and again until it is acknowledged, as a relay does it."""
    for start in range(0, len(messages), 10):
        while True:
            try:
                await put(messages[start : start + 10])
                break
            except BrokerUnavailable:
                await asyncio.sleep(0.2)


@dataclass
class Stream:
    """How many messages were acknowledged so far; all there are, once the stream has ended."""

    count: int = 0


@asynccontextmanager
async def streaming(put: Put, topic: str, pause_seconds: float = 0.05) -> AsyncIterator[Stream]:
    """Messages flow until the block is left, however long what happens in it may take."""
    stream, stop = Stream(), asyncio.Event()

    async def flow() -> None:
        while not stop.is_set():
            await put_all(put, envelopes(topic, range(stream.count, stream.count + 10)))
            stream.count += 10
            await asyncio.sleep(pause_seconds)

    flowing = asyncio.create_task(flow())
    try:
        yield stream
        stop.set()
        await asyncio.wait_for(flowing, 90)
    finally:
        flowing.cancel()
