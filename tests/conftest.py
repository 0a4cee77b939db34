"""The whole shop as `run` starts it: one for all tests that can share it."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

import loadtests.shop
from collector import Collector
from loadtests.audit import initial_stock_and_orders, wait_until_settled
from loadtests.shop import OpenShop, Shop
from servers import GroupServers, group_of

# The groups that take longest start first, and within one the tests that kill something run last.
FIRST, LAST = ["shop", "pulsar", "kafka"], ["test_plans", "test_faults"]
QUICK = {"DISPATCH_SECONDS": "0.2", "DELIVER_SECONDS": "0.2"}
# What the tests of the shared shop need beside: every trace; a provider that can be slower than payment waits;
# and time for an order while whatever it needs is killed.
SHARED = QUICK | {
    "TRACE_RATIO": "1",
    "SLOW_SECONDS": "4",
    "LATE_SECONDS": "1",
    "PAYMENT_PROVIDER_TIMEOUT_SECONDS": "2",
    "ORDER_PLACED_SECONDS": "600",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> tuple[int, int]:
        group, module = group_of(item), item.path.stem
        return FIRST.index(group) if group in FIRST else len(FIRST), LAST.index(module) + 1 if module in LAST else 0

    items.sort(key=rank)  # stable


@pytest.fixture(scope="module")
def collector(group_servers: GroupServers) -> Collector:
    """All spans of the shared shop."""
    running: Collector = group_servers.get("collector", Collector)
    return running


@pytest.fixture(scope="module")
def kafka_shop(group_servers: GroupServers, collector: Collector) -> Shop:
    """The shop on Kafka that all tests of the group `shop` share. Each test leaves it at rest."""
    variables = SHARED | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}

    @contextmanager
    def started() -> Iterator[Shop]:
        with loadtests.shop.open_shop(variables) as running:
            asyncio.run(forget_statements(running))
            yield running

    shared: Shop = group_servers.get("shop", started)
    return shared


async def forget_statements(shop: Shop) -> None:
    """What the migrations asked is none of what the services ask (`tests/test_plans.py`)."""
    server = await asyncpg.connect(shop.superuser_url)
    await server.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    await server.execute("SELECT pg_stat_statements_reset()")
    await server.close()


@pytest.fixture(scope="module")
def shop(kafka_shop: Shop) -> Shop:
    """A module whose tests need another shop has a fixture of this name."""
    return kafka_shop


@pytest_asyncio.fixture
async def left_at_rest(shop: Shop) -> Any:
    """Use it in each test of the shared shop: what the test began has come to its end when the next one starts."""
    yield
    _, orders = await initial_stock_and_orders(shop)
    await wait_until_settled(shop, orders)
    assert {it["name"]: it["state"] for it in shop.running["children"] if it["state"] != "ready"} == {}


@pytest.fixture(scope="module")
def open_shop() -> Iterator[OpenShop]:
    """`open_shop(BROKER="pulsar")`: a shop of its own, with 50 products, stopped at the end of the module."""
    with ExitStack() as shops:

        def start(**variables: str) -> Shop:
            return shops.enter_context(loadtests.shop.open_shop(QUICK | variables))

        yield start
