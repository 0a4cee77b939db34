"""The whole shop in one process, without a broker: the same orders, and kill -9 of it loses none."""

import pytest

from loadtests.audit import wait_until_settled
from loadtests.shop import OpenShop, Shop
from storm import storm

pytestmark = pytest.mark.xdist_group("monolith")


@pytest.fixture(scope="module")
def shop(open_shop: OpenShop) -> Shop:
    return open_shop(BROKER="memory", ORDER_PLACED_SECONDS="600")


async def test_all_services_are_one_process_and_there_is_no_kafka(shop: Shop) -> None:
    names = {child["name"] for child in shop.running["children"]}
    assert names == {"postgres", "valkey", "envoy", "simulators", "services"}


@pytest.mark.parametrize(
    ("card", "pieces", "status", "reason"),
    [
        ("tok_visa", 2, "delivered", None),
        ("tok_declined", 1, "cancelled", "payment_declined"),
        ("tok_visa", 1_000, "cancelled", "out_of_stock"),
    ],
)
async def test_an_order(shop: Shop, card: str, pieces: int, status: str, reason: str | None) -> None:
    async with shop.database("product") as connection:
        product_id = str(await connection.fetchval("SELECT min(product_id::text) FROM stock"))
    async with shop.customer() as customer:
        order_id = await customer.buy(product_id, pieces, card)
        ended = await customer.wait_until_ended(order_id)
    assert (ended["status"], ended["reason"]) == (status, reason)
    await wait_until_settled(shop, [order_id])


async def test_kill_9_of_everything_loses_no_order(shop: Shop, seed: int) -> None:
    await storm(shop, ["services"], 60, seed)
