"""Waiting for a condition, at most some seconds: no test sleeps and hopes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any


def wait_for(read: Callable[[], Any], seconds: float = 15) -> Any:
    """Call `read` until the result is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (result := read()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return result


async def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


async def eventually(read: Callable[[], Awaitable[Any]], expected: Any, seconds: float = 15) -> None:
    """Call `read` until the result is as expected."""
    deadline = time.monotonic() + seconds
    while (result := await read()) != expected:
        assert time.monotonic() < deadline, f"{result!r} did not become {expected!r}"
        await asyncio.sleep(0.02)
