"""The load: customers who place orders at once, and the kill -9 of a process meanwhile."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID, uuid4

import httpx

from loadtests.audit import wait_until_settled
from loadtests.shop import Customer, Shop, retry_until_success

SETTLE_SECONDS = 300  # with harsh faults, orders wait long for answers
T = TypeVar("T")


@dataclass
class Load:
    """The customers, and what was measured at their checkouts."""

    shop: Shop
    customers: list[Customer]
    at_once: int
    products: list[str]
    accepted_seconds: list[float] = field(default_factory=list)
    refused: int = 0  # tries of checkouts that failed and were repeated

    async def fill_carts(self, customers: Sequence[Customer]) -> None:
        """Put two lines into each cart."""
        await run_concurrently(self.at_once, [self._fill_cart(customer) for customer in customers])

    async def _fill_cart(self, customer: Customer) -> None:
        first, second = random.sample(self.products, 2)
        await retry_until_success(lambda: customer.put_in_cart(first))
        await retry_until_success(lambda: customer.put_in_cart(second))

    async def place(self, customers: Sequence[Customer]) -> list[UUID]:
        """Check out, and wait until all that follows is done."""
        ids = await run_concurrently(self.at_once, [self._place(customer) for customer in customers])
        await wait_until_settled(self.shop, ids, SETTLE_SECONDS)
        return ids

    async def _place(self, customer: Customer) -> UUID:
        started, key, tries = time.monotonic(), str(uuid4()), 0

        async def check_out() -> httpx.Response:
            nonlocal tries
            tries += 1
            return await customer.check_out(key=key)

        answer = await retry_until_success(check_out)
        self.accepted_seconds.append(time.monotonic() - started)
        self.refused += tries - 1
        return UUID(answer.json()["order_id"])


@dataclass
class ProcessKill:
    """kill -9 of a child process of the shop, after a number of further accepted orders."""

    load: Load
    child: str
    after: int
    at: datetime | None = None

    async def run(self) -> None:
        until = len(self.load.accepted_seconds) + self.after
        while len(self.load.accepted_seconds) < until:  # noqa: ASYNC110  # the customers need not know of it
            await asyncio.sleep(0.01)
        os.kill(self.load.shop.pid(self.child), signal.SIGKILL)
        self.at = datetime.now(UTC)

    async def longest_standstill(self) -> float:
        """Seconds: the longest pause, after the kill, between two steps of orders that need messages."""
        steps = """
            SELECT max(extract(epoch FROM at - before))::float FROM (
                SELECT at, lag(at) OVER (ORDER BY at) AS before FROM steps WHERE status <> 'placed'
            ) it WHERE at > $1
        """
        async with self.load.shop.database("order") as order:
            return float(await order.fetchval(steps, self.at) or 0)


async def run_concurrently(limit: int, awaitables: Sequence[Awaitable[T]]) -> list[T]:
    """All results, with at most `limit` awaitables in progress at once."""
    semaphore = asyncio.Semaphore(limit)

    async def run(it: Awaitable[T]) -> T:
        async with semaphore:
            return await it

    return await asyncio.gather(*(run(it) for it in awaitables))
