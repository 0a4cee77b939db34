"""The main job over real Kafka and Envoy: orders confirmed, declined, sold out and timed out, and what each leaves."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import httpx
import pytest

from collector import Collector
from ledger.waiting import until
from loadtests.audit import audit_shop, initial_stock_and_orders, wait_until_settled
from loadtests.shop import Customer, Shop

pytestmark = [pytest.mark.xdist_group("shop"), pytest.mark.usefixtures("left_at_rest")]
CONFIRMED = [
    "product.reserve_stock.v1",
    "product.stock_reserved.v1",
    "payment.authorize_payment.v1",
    "payment.payment_authorized.v1",
    "shipping.create_shipment.v1",
    "shipping.shipment_dispatched.v1",
    "product.commit_stock.v1",
    "product.stock_committed.v1",
    "payment.capture_payment.v1",
    "payment.payment_captured.v1",
    "shipping.shipment_delivered.v1",
]
DECLINED = [
    "product.reserve_stock.v1",
    "product.stock_reserved.v1",
    "payment.authorize_payment.v1",
    "payment.payment_declined.v1",
    "product.release_stock.v1",
    "product.stock_released.v1",
]
SOLD_OUT = ["product.reserve_stock.v1", "product.stock_rejected.v1"]
TIMED_OUT = [
    "product.reserve_stock.v1",
    "product.stock_reserved.v1",
    "payment.authorize_payment.v1",
    "payment.payment_authorized.v1",
    "payment.void_payment.v1",
    "payment.payment_voided.v1",
    "payment.void_payment.v1",
    "payment.payment_voided.v1",
    "product.release_stock.v1",
    "product.stock_released.v1",
]


MOVE_DEADLINE = "UPDATE orders SET deadline = now() WHERE id = $1 AND status = 'reserved' RETURNING true"


async def messages(shop: Shop, order_id: UUID, expected: int) -> list[str]:
    """The messages about an order, but for its own events, once there are as many as expected or time is up."""
    until = time.monotonic() + 10
    while True:
        found = await _published(shop, order_id)
        if len(found) >= expected or time.monotonic() > until:
            return found
        await asyncio.sleep(0.2)


async def _published(shop: Shop, order_id: UUID) -> list[str]:
    found = []
    for service in ("order", "product", "payment", "shipping"):
        async with shop.database(service) as connection:
            rows = await connection.fetch(
                "SELECT type FROM outbox_history WHERE key = $1 AND topic <> 'order.events'", str(order_id)
            )
            found += [row["type"] for row in rows]
    return found


async def product(shop: Shop, number: int) -> tuple[str, int]:
    """The id of a seeded product, and how many of it there are."""
    async with shop.database("product") as connection:
        rows = await connection.fetch("SELECT product_id, on_hand FROM stock WHERE on_hand < 990 ORDER BY product_id")
    return str(rows[number]["product_id"]), int(rows[number]["on_hand"])


async def check(
    shop: Shop,
    collector: Collector,
    customer: Customer,
    order_id: UUID,
    status: str,
    reason: str | None,
    expected: list[str],
) -> None:
    ended = await customer.wait_until_ended(order_id)
    assert (ended["status"], ended["reason"]) == (status, reason)
    await wait_until_settled(shop, [order_id])
    found = await messages(shop, order_id, len(expected))
    assert (set(found) == set(expected)) if reason == "payment_timed_out" else (sorted(found) == sorted(expected))
    names = {f"process {type_}" for type_ in expected}
    trace = await collector.trace_with(str(order_id), names)
    assert len(trace) == 1, f"one order is one trace, and this has {len(trace)}"


async def test_confirmed(shop: Shop, collector: Collector) -> None:
    id, _ = await product(shop, 0)
    async with shop.customer() as customer:
        order_id = await customer.buy(id, 2)
        await check(shop, collector, customer, order_id, "delivered", None, CONFIRMED)


async def test_declined(shop: Shop, collector: Collector) -> None:
    id, _ = await product(shop, 1)
    async with shop.customer() as customer:
        order_id = await customer.buy(id, 1, "tok_declined")
        await check(shop, collector, customer, order_id, "cancelled", "payment_declined", DECLINED)


async def test_sold_out(shop: Shop, collector: Collector) -> None:
    id, on_hand = await product(shop, 2)
    async with shop.customer() as customer:
        order_id = await customer.buy(id, on_hand + 1)
        await check(shop, collector, customer, order_id, "cancelled", "out_of_stock", SOLD_OUT)


async def test_timed_out(shop: Shop, collector: Collector) -> None:
    """The provider takes longer than the order may wait; its late yes is undone, and the undo may go out twice."""
    id, _ = await product(shop, 3)
    async with shop.customer() as customer:
        async with provider_away(shop):
            order_id = await customer.buy(id, 1)
            await let_its_time_be_up(shop, order_id)
        await check(shop, collector, customer, order_id, "cancelled", "payment_timed_out", TIMED_OUT)


@asynccontextmanager
async def provider_away(shop: Shop) -> AsyncIterator[None]:
    """Provider and carrier refuse every request within the block, and are asked again and again."""
    async with httpx.AsyncClient(base_url=shop.url("simulators")) as outside:
        (await outside.put("/settings", json={"faults": {"unavailable": 1}})).raise_for_status()
        try:
            yield
        finally:
            (await outside.put("/settings", json={"faults": "none"})).raise_for_status()


async def let_its_time_be_up(shop: Shop, order_id: UUID) -> None:
    """Move the deadline of a reserved order to now, instead of a wait of 15 minutes, and see the order time out.

    The order service is restarted, so that it looks at its deadlines at once: it cannot know of the move.
    """
    async with shop.database("order") as connection:

        async def succeeds(statement: str) -> bool:
            return bool(await connection.fetchval(statement, order_id))

        await until(lambda: succeeds(MOVE_DEADLINE), 60)
        os.kill(shop.pid("order"), signal.SIGTERM)
        await until(lambda: succeeds("SELECT status = 'cancelling' FROM orders WHERE id = $1"), 60)


async def test_many_at_once_leave_everything_in_balance(shop: Shop) -> None:
    """Thirty customers, a third with a bad card, on two products; the whole shop is audited afterwards."""
    before, earlier = await initial_stock_and_orders(shop)
    ids = [(await product(shop, number))[0] for number in (4, 5)]

    async def buy(number: int) -> UUID:
        async with shop.customer() as customer:
            order_id = await customer.buy(
                ids[number % 2], 1 + number % 3, "tok_declined" if number % 3 == 0 else "tok_visa"
            )
            await customer.wait_until_ended(order_id)
            return order_id

    accepted = [*earlier, *await asyncio.gather(*[buy(number) for number in range(30)])]
    await wait_until_settled(shop, accepted)
    outcome = await audit_shop(shop, accepted, before)
    assert outcome["delivered"] >= 20


async def test_the_customer_sees_the_order_at_once_and_nobody_else_does(shop: Shop) -> None:
    id, _ = await product(shop, 6)
    async with shop.customer() as customer, shop.customer() as stranger:
        await customer.fill_cart(id)
        answer = await customer.check_out()
        assert answer.status_code == 202
        path = answer.headers["location"].removeprefix("/api/v1")
        assert (await customer.http.get(path)).json()["order_id"] == answer.json()["order_id"]
        refused = await stranger.http.get(path)
        assert (refused.status_code, refused.json()["code"]) == (404, "order_not_found")


async def test_a_checkout_is_made_once_per_key(shop: Shop) -> None:
    id, _ = await product(shop, 7)
    async with shop.customer() as customer:
        await customer.fill_cart(id)
        answers = await asyncio.gather(*[customer.check_out(key="the-same-key") for _ in range(5)])
        orders = {answer.json()["order_id"] for answer in answers if answer.status_code == 202}
        assert len(orders) == 1
        assert {answer.status_code for answer in answers} <= {202, 409}
        other = await customer.check_out("tok_declined", key="the-same-key")
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


async def test_the_gateway_refuses_tokens_that_are_not_ours(shop: Shop) -> None:
    async with httpx.AsyncClient(base_url=f"{shop.url('public')}/api/v1") as http:
        for token in ("garbage", "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."):
            answer = await http.get("/cart", headers={"authorization": f"Bearer {token}"})
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
