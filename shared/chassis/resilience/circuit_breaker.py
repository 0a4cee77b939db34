"""When not to call a system outside: a circuit breaker and a retry budget, for each process its own.

Source: Nygard, *Release It!*, *Circuit Breaker*.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState

from chassis.config import Settings
from chassis.resilience.retry_budget import RetryBudget


class CallRejected(Exception):
    """The other side is not called now."""


class CircuitBreaker:
    """Around every call: `async with runtime.resource(CircuitBreaker).call(retry=True)`. An error inside is a failure.

    After `breaker_failures` failures in a row the breaker opens, and no call is made for `breaker_seconds`; then one
    call is let through (half open), and its outcome closes the breaker or opens it again.
    """

    def __init__(self, settings: Settings) -> None:
        self._breakers = AsyncCircuitBreakerFactory(settings.breaker_failures, settings.breaker_seconds)
        self._budget = RetryBudget()

    @asynccontextmanager
    async def call(self, *, retry: bool) -> AsyncIterator[None]:
        """Raises CallRejected while the breaker is open, or when a retry is not in the budget."""
        breaker = await self._breakers.get_breaker("outside")
        if breaker.context.state != "opened" and retry and not self._budget.take():
            raise CallRejected("the retry budget is used up")
        try:
            async with breaker:
                yield
        except OpenedState as opened:
            opened.with_traceback(None)  # the breaker raises the same object each time; its traceback would grow
            raise CallRejected(str(opened)) from None
        self._budget.refill()

    async def close(self) -> None:
        """Nothing is open."""
