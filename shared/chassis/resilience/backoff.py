"""Waiting: longer after each failure, with jitter, and no longer than until the service stops."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def wait_for_any(seconds: float, *events: asyncio.Event) -> None:
    """Wait until one of the events is set, at most this many seconds."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def run_until(event: asyncio.Event, work: Awaitable[T]) -> T | None:
    """Return what the work returns, or None if the event is set first: then the work was cancelled and has ended."""
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
    return None if working.cancelled() else working.result()


async def repeat_every(seconds: float, action: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Run the action now and again after each pause of `seconds`. `stop` also cancels an action that is under way."""
    while not stop.is_set():
        await run_until(stop, action())
        await wait_for_any(seconds, stop)


def retry_delay_seconds(tries: int, first_seconds: float, most_seconds: float) -> float:
    """How long to wait before the next try, after `tries` earlier retries; 0 gives the first delay.

    Equal jitter: a random time between half and all of a delay that doubles with each try, up to `most_seconds`.
    Source: AWS Architecture Blog, *Exponential Backoff and Jitter*.
    """
    doublings = min(tries, 64)  # enough for any sensible ratio of the two limits, and never an overflow
    return min(first_seconds * 2.0**doublings, most_seconds) * random.uniform(0.5, 1)


class Backoff:
    """Pauses that get longer with each failure and start anew after a success."""

    def __init__(self, first_seconds: float = 0.1, most_seconds: float = 5) -> None:
        self._first_seconds, self._most_seconds = first_seconds, most_seconds
        self._tries = 0

    def reset(self) -> None:
        self._tries = 0

    async def pause(self, stop: asyncio.Event) -> None:
        await wait_for_any(retry_delay_seconds(self._tries, self._first_seconds, self._most_seconds), stop)
        self._tries += 1
