"""When not to call somebody outside: a circuit breaker and a budget of retries, for each process its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState

from chassis.config import Settings
from chassis.resilience.retry_budget import RetryBudget


class CallRejected(Exception):
    """The other side is not called now."""


class CircuitBreaker:
    """Around every call: `async with runtime.resource(Guard).call(retry=True)`. What is raised inside is a failure."""

    def __init__(self, settings: Settings) -> None:
        self._breakers = AsyncCircuitBreakerFactory(settings.breaker_failures, settings.breaker_seconds)
        self._budget = RetryBudget()

    @asynccontextmanager
    async def call(self, *, retry: bool) -> AsyncIterator[None]:
        """Raises PutOff while the breaker is open, or when a retry is not in the budget."""
        breaker = await self._breakers.get_breaker("outside")
        if breaker.context.state != "opened" and retry and not self._budget.take():
            raise CallRejected("the budget of retries is used up")
        try:
            async with breaker:
                yield
        except OpenedState as opened:
            opened.with_traceback(None)  # the breaker raises one and the same again and again, which would add up
            raise CallRejected(str(opened)) from None
        self._budget.pay_back()

    async def close(self) -> None:
        """Nothing is open."""
