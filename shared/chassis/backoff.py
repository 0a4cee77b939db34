"""Waiting: longer after each failure, with jitter, and no longer than until the service stops."""

import asyncio
import random


async def wait(seconds: float, *events: asyncio.Event) -> None:
    """Wait until one of the events is set, at most so many seconds."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


class Backoff:
    """Full jitter between half and all of a delay that doubles. Source: AWS, Exponential Backoff and Jitter."""

    def __init__(self, first_seconds: float = 0.1, most_seconds: float = 5) -> None:
        self._first, self._most = first_seconds, most_seconds
        self._delay = first_seconds

    def reset(self) -> None:
        self._delay = self._first

    async def pause(self, stop: asyncio.Event) -> None:
        await wait(self._delay * random.uniform(0.5, 1), stop)
        self._delay = min(self._delay * 2, self._most)
