"""The whole shop as `run` starts it, on real servers."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import loadtests.shop
from loadtests.shop import OpenShop, Shop


@pytest.fixture(scope="module")
def open_shop() -> Iterator[OpenShop]:
    """`open_shop(ORDER_RESERVED_SECONDS="5")`: a shop of its own, with 50 products, stopped at the end."""
    quick = {"DISPATCH_SECONDS": "0.2", "DELIVER_SECONDS": "0.2"}
    with ExitStack() as shops:

        def start(**variables: str) -> Shop:
            return shops.enter_context(loadtests.shop.open_shop(quick | variables))

        yield start
