"""kill -9 of any one child while orders are placed: none is lost, and everything balances."""

import os

import pytest

from shop import Open, Shop
from storm import storm

# As many as are asked for of a release; every run does a part of it.
ORDERS = 200 if os.environ.get("LONG") else 60
CHILDREN = [
    "postgres", "kafka", "envoy", "valkey", "outside", "aggregator", "order", "product", "payment", "shipping", "user",
]  # fmt: skip
pytestmark = [pytest.mark.xdist_group("shop"), pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def shop(open_shop: Open) -> Shop:
    return open_shop()


@pytest.mark.parametrize("child", CHILDREN)
async def test_kill_9_loses_no_order(shop: Shop, child: str) -> None:
    assert await storm(shop, child, ORDERS) >= 0.95
