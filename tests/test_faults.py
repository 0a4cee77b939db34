"""kill -9 of any one child while 200 orders are placed: none is lost, and everything balances."""

import pytest

from loadtests.shop import OpenShop, Shop
from storm import storm

ORDERS = 200
CHILDREN = [
    "postgres", "kafka", "envoy", "valkey", "valkey-persistent", "simulators",
    "aggregator", "notification", "order", "product", "payment", "shipping", "user",
]  # fmt: skip
pytestmark = [pytest.mark.xdist_group("shop"), pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def shop(open_shop: OpenShop) -> Shop:
    return open_shop()


@pytest.mark.parametrize("child", CHILDREN)
async def test_kill_9_loses_no_order(shop: Shop, child: str) -> None:
    assert await storm(shop, child, ORDERS) >= 0.95
