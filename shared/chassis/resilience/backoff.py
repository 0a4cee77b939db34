"""Waiting: longer after each failure, with jitter, and no longer than until the service stops."""

import asyncio
import random
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def wait_for_any(seconds: float, *events: asyncio.Event) -> None:
    """Wait until one of the events is set, at most so many seconds."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def run_until(event: asyncio.Event, work: Awaitable[T]) -> T | None:
    """What the work returns, or None when the event is set before: then the work has been cancelled and has ended."""
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
    return None if working.cancelled() else working.result()


class Backoff:
    """Full jitter between half and all of a delay that doubles. Source: AWS, Exponential Backoff and Jitter."""

    def __init__(self, first_seconds: float = 0.1, most_seconds: float = 5) -> None:
        self._first, self._most = first_seconds, most_seconds
        self._delay = first_seconds

    def reset(self) -> None:
        self._delay = self._first

    async def pause(self, stop: asyncio.Event) -> None:
        await wait_for_any(self._delay * random.uniform(0.5, 1), stop)
        self._delay = min(self._delay * 2, self._most)
