"""A debouncer: many triggers that come together lead to one action."""

import asyncio
from collections.abc import Awaitable, Callable


class Debouncer:
    """Runs `action` a moment after the first trigger, and once more for triggers that came while the action ran."""

    def __init__(self, action: Callable[[], Awaitable[None]], *, delay_seconds: float) -> None:
        self._action, self._delay_seconds = action, delay_seconds
        self._triggered = False
        self._running: asyncio.Task[None] | None = None

    def trigger(self) -> None:
        """Return at once; the action runs on the event loop. What the action raises is logged by asyncio."""
        self._triggered = True
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._triggered:
                await asyncio.sleep(self._delay_seconds)
                self._triggered = False
                await self._action()
        finally:
            self._running = None

    async def close(self, *, wait_seconds: float) -> None:
        """Give an action that is under way this time to end, then cancel it."""
        if (running := self._running) is not None:
            await asyncio.wait({running}, timeout=wait_seconds)
            running.cancel()
