"""The whole shop as `run` starts it, on real servers."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from shop import Open, Shop, free_port, seed, wait_until_ready


@pytest.fixture(scope="module")
def open_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """`open_shop(ORDER_RESERVED_SECONDS="5")`: a shop of its own, with 50 products, stopped at the end."""
    shops: list[Shop] = []

    def start(**variables: str) -> Shop:
        folder = tmp_path_factory.mktemp("shop")
        ports = {f"{name}_PORT": str(free_port()) for name in ("PUBLIC", "INTERNAL", "HOOKS")}
        quick = {"DISPATCH_SECONDS": "0.2", "DELIVER_SECONDS": "0.2"}
        environment = {**os.environ, **ports, **quick, **variables}
        log = (folder / "run.log").open("wb")
        command = [sys.executable, "-m", "cli", "run"]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        shop = Shop(folder, process)
        shops.append(shop)
        wait_until_ready(shop)
        seed(shop)
        return shop

    yield start
    for shop in shops:
        shop.process.send_signal(signal.SIGTERM)
    for shop in shops:
        shop.process.wait(timeout=20)
