"""Customers who place orders, and the death of the broker among them."""

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

from loadtests.audit import at_rest
from loadtests.shop import Customer, Shop, persist

REST_SECONDS = 300  # a cruel world lets orders wait for its answers
T = TypeVar("T")


@dataclass
class Load:
    """The customers, and what they saw."""

    shop: Shop
    customers: list[Customer]
    at_once: int
    products: list[str]
    accepted_seconds: list[float] = field(default_factory=list)
    refused: int = 0  # checkouts that were tried again

    async def fill_carts(self, customers: Sequence[Customer]) -> None:
        """Two lines each."""
        await at_once(self.at_once, [self._fill_cart(customer) for customer in customers])

    async def _fill_cart(self, customer: Customer) -> None:
        first, second = random.sample(self.products, 2)
        await persist(lambda: customer.put(first))
        await persist(lambda: customer.put(second))

    async def place(self, customers: Sequence[Customer]) -> list[UUID]:
        """Check out, and come back when all is done that follows."""
        ids = await at_once(self.at_once, [self._place(customer) for customer in customers])
        await at_rest(self.shop, ids, REST_SECONDS)
        return ids

    async def _place(self, customer: Customer) -> UUID:
        started, key, tries = time.monotonic(), str(uuid4()), 0

        async def check_out() -> httpx.Response:
            nonlocal tries
            tries += 1
            return await customer.check_out(key=key)

        answer = await persist(check_out)
        self.accepted_seconds.append(time.monotonic() - started)
        self.refused += tries - 1
        return UUID(answer.json()["order_id"])


@dataclass
class ProcessKill:
    """kill -9 of a child of the shop, once so many more orders are accepted."""

    load: Load
    child: str
    after: int
    at: datetime | None = None

    async def run(self) -> None:
        until = len(self.load.accepted_seconds) + self.after
        while len(self.load.accepted_seconds) < until:  # noqa: ASYNC110  # seldom, and who places orders need not know
            await asyncio.sleep(0.01)
        os.kill(self.load.shop.pid(self.child), signal.SIGKILL)
        self.at = datetime.now(UTC)

    async def standstill(self) -> float:
        """Seconds: the longest that no order made a step which takes messages, from the kill on."""
        steps = """
            SELECT max(extract(epoch FROM at - before))::float FROM (
                SELECT at, lag(at) OVER (ORDER BY at) AS before FROM steps WHERE status <> 'placed'
            ) it WHERE at > $1
        """
        async with self.load.shop.database("order") as order:
            return float(await order.fetchval(steps, self.at) or 0)


async def at_once(most: int, acts: Sequence[Awaitable[T]]) -> list[T]:
    turns = asyncio.Semaphore(most)

    async def act(it: Awaitable[T]) -> T:
        async with turns:
            return await it

    return await asyncio.gather(*(act(it) for it in acts))
