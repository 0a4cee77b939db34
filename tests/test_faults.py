"""kill -9 of every child while orders are placed: none is lost, and everything balances."""

import random

import pytest

from loadtests.shop import Shop
from storm import storm

CHILDREN = [
    "postgres", "kafka", "envoy", "valkey", "valkey-persistent", "simulators",
    "aggregator", "notification", "order", "product", "payment", "shipping", "user",
]  # fmt: skip
pytestmark = [pytest.mark.xdist_group("shop"), pytest.mark.usefixtures("left_at_rest"), pytest.mark.timeout(600)]


def test_no_child_is_left_out(shop: Shop) -> None:
    assert {child["name"] for child in shop.running["children"]} == set(CHILDREN)


async def test_kill_9_of_each_child_in_turn_loses_no_order(shop: Shop, seed: int) -> None:
    sequence = random.Random(seed).sample(CHILDREN, len(CHILDREN))
    print("killed in this order:", *sequence)  # noqa: T201  # pytest shows it when the test fails
    await storm(shop, sequence, 24, seed)


@pytest.mark.long
@pytest.mark.parametrize("child", CHILDREN)
async def test_kill_9_amid_many_orders_loses_none(shop: Shop, child: str, seed: int) -> None:
    await storm(shop, [child], 200, seed)
