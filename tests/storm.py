"""Customers who do not give up, while a child of the shop is killed."""

import asyncio
import os
import random
import signal
from uuid import UUID, uuid4

from loadtests.audit import audit_shop, initial_stock_and_orders, wait_until_settled
from loadtests.shop import Customer, Shop, retry_until_success

AT_ONCE = 8


async def storm(shop: Shop, child: str, orders: int) -> float:
    """Place orders, kill -9 the child after a quarter of them, and audit the shop. The share of them delivered."""
    async with shop.database("product") as connection:
        ids = [str(row["product_id"]) for row in await connection.fetch("SELECT product_id FROM stock")]
    before, earlier = await initial_stock_and_orders(shop)
    accepted: list[UUID] = []

    async def buy() -> None:
        async with shop.customer() as customer:
            while len(accepted) < orders:
                accepted.append(await place(customer, random.choice(ids)))
                if len(accepted) == orders // 4:
                    os.kill(shop.pid(child), signal.SIGKILL)

    async with asyncio.timeout(120):
        await asyncio.gather(*[buy() for _ in range(AT_ONCE)])
    await wait_until_settled(shop, accepted)
    await audit_shop(shop, [*earlier, *accepted], before)
    async with shop.database("order") as connection:
        delivered = await connection.fetchval(
            "SELECT count(*) FROM orders WHERE id = ANY($1) AND status = 'delivered'", accepted
        )
    return float(delivered / len(accepted))


async def place(customer: Customer, product_id: str) -> UUID:
    key = str(uuid4())
    await retry_until_success(lambda: customer.put_in_cart(product_id))
    answer = await retry_until_success(lambda: customer.check_out(key=key))
    return UUID(answer.json()["order_id"])
