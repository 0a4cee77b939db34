"""Customers who go on buying while children of the shop are killed one after the other."""

import asyncio
import os
import random
import signal
from collections.abc import Sequence
from uuid import UUID, uuid4

from ledger.waiting import until
from loadtests.audit import audit_shop, initial_stock_and_orders, wait_until_settled
from loadtests.shop import Customer, Shop, retry_until_success

AT_ONCE = 8
BACK_SECONDS = 60  # within which a killed child is ready again, and what waited for it has gone on


async def storm(shop: Shop, children: Sequence[str], orders_per_kill: int, seed: int) -> None:
    """Kill -9 one child after the other, each amid orders of its own, and audit the shop: every order is delivered."""
    async with shop.database("product") as connection:
        products = [str(row["product_id"]) for row in await connection.fetch("SELECT product_id FROM stock")]
    before, earlier = await initial_stock_and_orders(shop)
    accepted: list[UUID] = []
    wanted = 0

    async def buy(number: int) -> None:
        choice = random.Random(f"{seed} {number}")
        async with shop.customer() as customer:
            while len(accepted) < orders_per_kill * len(children):
                await until(lambda: len(accepted) < wanted, BACK_SECONDS)
                accepted.append(await place(customer, choice.choice(products)))

    async def kill() -> None:
        nonlocal wanted
        for child in children:
            await until(lambda: all_ready(shop), BACK_SECONDS)
            wanted += orders_per_kill
            middle = wanted - orders_per_kill // 2
            await until(lambda: len(accepted) >= middle, BACK_SECONDS)  # noqa: B023  # waited for in this round
            os.kill(shop.pid(child), signal.SIGKILL)

    async with asyncio.timeout(BACK_SECONDS * (1 + len(children))):
        await asyncio.gather(kill(), *[buy(number) for number in range(AT_ONCE)])
    await wait_until_settled(shop, accepted)
    await audit_shop(shop, [*earlier, *accepted], before)
    assert await not_delivered(shop, accepted) == {}


async def place(customer: Customer, product_id: str) -> UUID:
    key = str(uuid4())
    await retry_until_success(lambda: customer.put_in_cart(product_id))
    answer = await retry_until_success(lambda: customer.check_out(key=key))
    return UUID(answer.json()["order_id"])


def all_ready(shop: Shop) -> bool:
    return all(child["state"] == "ready" for child in shop.running["children"])


async def not_delivered(shop: Shop, accepted: Sequence[UUID]) -> dict[UUID, tuple[str, str | None]]:
    """Status and reason of each order that was not delivered."""
    async with shop.database("order") as connection:
        rows = await connection.fetch(
            "SELECT id, status, reason FROM orders WHERE id = ANY($1) AND status <> 'delivered'", accepted
        )
    return {row["id"]: (row["status"], row["reason"]) for row in rows}
