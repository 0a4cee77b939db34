"""For all tests: one PostgreSQL, started by whoever started pytest, and the chassis' fixtures."""

import os

import pytest

from local.postgres import Postgres

pytest_plugins = ["chassis.testing"]
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
