"""For all tests: one PostgreSQL, started by whoever started pytest, and the chassis' fixtures."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import settings

from brokers.proxy import Proxy
from local.kafka import Kafka
from local.postgres import Postgres
from local.pulsar import Pulsar
from servers import GroupServers, Servers, group_of, new_broker

pytest_plugins = ["chassis.testing"]
# `make test` draws the same examples each time. With LONG=1 they are others, and one that fails is printed so that it
# can be repeated (@reproduce_failure).
settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.register_profile("random", derandomize=False, print_blob=True, deadline=None)
settings.load_profile("random" if os.environ.get("LONG") else "same")
_server: Postgres | None = None
_group_servers = GroupServers()


def pytest_configure(config: pytest.Config) -> None:
    global _server
    if not hasattr(config, "workerinput") and "TEST_POSTGRES_URL" not in os.environ:
        _server = Postgres.temporary()
        _server.start()
        os.environ["TEST_POSTGRES_URL"] = _server.url()


def pytest_unconfigure(config: pytest.Config) -> None:
    if _server is not None:
        _server.stop()


def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: while a test waits, another one runs."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is None or group_of(nextitem) != group_of(item):
        _group_servers.stop()


@pytest.fixture(scope="session")
def group_servers() -> GroupServers:
    return _group_servers


@pytest.fixture(scope="session")
def servers(group_servers: GroupServers, tmp_path_factory: pytest.TempPathFactory) -> Servers:
    """`servers("kafka")`: the broker that all tests of the group `kafka` share."""

    @contextmanager
    def started(name: str) -> Iterator[tuple[Kafka | Pulsar, Proxy]]:
        server, proxy = new_broker(name, tmp_path_factory.mktemp(name))
        with server:
            yield server, proxy

    def server(name: str) -> tuple[Kafka | Pulsar, Proxy]:
        found: tuple[Kafka | Pulsar, Proxy] = group_servers.get(name, lambda: started(name))
        return found

    return server


@pytest.fixture
def seed() -> int:
    """For what a test draws: always the same, with LONG=1 another in each run. SEED=… repeats a run that failed."""
    found = int(os.environ.get("SEED") or (random.getrandbits(32) if os.environ.get("LONG") else 0))
    print(f"SEED={found} repeats this")  # noqa: T201  # pytest shows it when the test fails
    return found
