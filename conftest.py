"""For all tests: one PostgreSQL, started by whoever started pytest, and the chassis' fixtures."""

import os
import random

import pytest
from hypothesis import settings

from local.postgres import Postgres

pytest_plugins = ["chassis.testing"]
# `make test` draws the same examples each time. With LONG=1 they are others, and one that fails is printed so that it
# can be repeated (@reproduce_failure).
settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.register_profile("random", derandomize=False, print_blob=True, deadline=None)
settings.load_profile("random" if os.environ.get("LONG") else "same")
_server: Postgres | None = None


def pytest_configure(config: pytest.Config) -> None:
    global _server
    if not hasattr(config, "workerinput") and "TEST_POSTGRES_URL" not in os.environ:
        _server = Postgres.temporary()
        _server.start()
        os.environ["TEST_POSTGRES_URL"] = _server.url()


def pytest_unconfigure(config: pytest.Config) -> None:
    if _server is not None:
        _server.stop()


@pytest.fixture
def seed() -> int:
    """For what a test draws: always the same, with LONG=1 another in each run. SEED=… repeats a run that failed."""
    found = int(os.environ.get("SEED") or (random.getrandbits(32) if os.environ.get("LONG") else 0))
    print(f"SEED={found} repeats this")  # noqa: T201  # pytest shows it when the test fails
    return found
