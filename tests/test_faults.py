"""kill -9 of any one child while 200 orders are placed: none is lost, and everything balances."""

import asyncio
import os
import random
import signal
from uuid import UUID, uuid4

import httpx
import pytest

from audit import at_rest, audit, stock_of
from shop import Customer, Open, Shop

ORDERS = 200
AT_ONCE = 8
CHILDREN = [
    "postgres", "kafka", "envoy", "valkey", "outside", "aggregator", "order", "product", "payment", "shipping", "user",
]  # fmt: skip


@pytest.fixture(scope="module")
def shop(open_shop: Open) -> Shop:
    return open_shop()


async def persist(customer: Customer, product_id: str) -> UUID:
    """Check out as a good client does: the same key again until there is an answer."""
    key = str(uuid4())
    while True:
        try:
            put = await customer.http.put(f"/cart/lines/{product_id}", json={"quantity": 1})
            if put.is_success:
                break
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.2)
    while True:
        try:
            answer = await customer.check_out(key=key)
            if answer.status_code == 202:
                return UUID(answer.json()["order_id"])
            assert answer.status_code in (409, 429, 500, 502, 503, 504), answer.text
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.2)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("child", CHILDREN)
async def test_kill_9_loses_no_order(shop: Shop, child: str) -> None:
    async with shop.database("product") as connection:
        ids = [str(row["product_id"]) for row in await connection.fetch("SELECT product_id FROM stock")]
    before, earlier = await _state(shop)
    accepted: list[UUID] = []

    async def buy(customers: int) -> None:
        async with shop.customer() as customer:
            while len(accepted) < ORDERS:
                accepted.append(await persist(customer, random.choice(ids)))
                if len(accepted) == ORDERS // 4:
                    os.kill(shop.pid(child), signal.SIGKILL)

    async with asyncio.timeout(120):
        await asyncio.gather(*[buy(number) for number in range(AT_ONCE)])
    await at_rest(shop, accepted)
    await audit(shop, [*earlier, *accepted], before)
    async with shop.database("order") as connection:
        delivered = await connection.fetchval(
            "SELECT count(*) FROM orders WHERE id = ANY($1) AND status = 'delivered'", accepted
        )
    assert delivered >= 0.95 * len(accepted)


async def _state(shop: Shop) -> tuple[int, list[UUID]]:
    """The stock there was at the beginning of everything, and the orders so far."""
    async with shop.database("order") as connection:
        earlier = [row["id"] for row in await connection.fetch("SELECT id FROM orders")]
        sold = await connection.fetchval(
            "SELECT coalesce(sum((line->>'quantity')::int), 0) FROM orders, jsonb_array_elements(lines) line"
            " WHERE status = 'delivered'"
        )
    return await stock_of(shop) + sold, earlier
