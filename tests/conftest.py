"""The whole shop as `run` starts it, and servers that the tests of an xdist group share and that end with the group."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
import pytest_asyncio

import loadtests.shop
from collector import Collector
from loadtests.audit import at_rest, so_far
from loadtests.shop import Open, Shop

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


def group_of(item: pytest.Item) -> str:
    mark = item.get_closest_marker("xdist_group")
    return str(mark.args[0]) if mark else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> tuple[int, int]:
        group, module = group_of(item), item.path.stem
        return FIRST.index(group) if group in FIRST else len(FIRST), LAST.index(module) + 1 if module in LAST else 0

    items.sort(key=rank)  # stable


class GroupServers:
    """Servers that run from the first test of an xdist group that asks for them to the last test of the group."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._running: dict[str, Any] = {}

    def get(self, name: str, start: Callable[[], AbstractContextManager[Any]]) -> Any:
        if name not in self._running:
            self._running[name] = self._stack.enter_context(start())
        return self._running[name]

    def stop(self) -> None:
        self._running.clear()
        self._stack.close()


_servers = GroupServers()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is None or group_of(nextitem) != group_of(item):
        _servers.stop()


@pytest.fixture(scope="session")
def group_servers() -> GroupServers:
    return _servers


@pytest.fixture(scope="module")
def collector(group_servers: GroupServers) -> Collector:
    """All spans of the shared shop."""
    running: Collector = group_servers.get("collector", Collector)
    return running


@pytest.fixture(scope="module")
def kafka_shop(group_servers: GroupServers, collector: Collector) -> Shop:
    """The shop on Kafka that all tests of the group `shop` share. Each test leaves it at rest."""
    variables = SHARED | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    shared: Shop = group_servers.get("shop", lambda: loadtests.shop.open_shop(variables))
    return shared


@pytest.fixture(scope="module")
def shop(kafka_shop: Shop) -> Shop:
    """A module whose tests need another shop has a fixture of this name."""
    return kafka_shop


@pytest_asyncio.fixture
async def left_at_rest(shop: Shop) -> Any:
    """Use it in each test of the shared shop: what the test began has come to its end when the next one starts."""
    yield
    _, orders = await so_far(shop)
    await at_rest(shop, orders)
    assert {it["name"]: it["state"] for it in shop.told["children"] if it["state"] != "ready"} == {}


@pytest.fixture(scope="module")
def open_shop() -> Iterator[Open]:
    """`open_shop(BROKER="pulsar")`: a shop of its own, with 50 products, stopped at the end of the module."""
    with ExitStack() as shops:

        def start(**variables: str) -> Shop:
            return shops.enter_context(loadtests.shop.open_shop(QUICK | variables))

        yield start
