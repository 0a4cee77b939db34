"""The whole shop as `run` starts it, on real servers."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shop import Open, Shop, free_port, seed, wait_until_ready


@pytest.fixture(scope="module")
def open_shop() -> Iterator[Open]:
    """`open_shop(ORDER_RESERVED_SECONDS="5")`: a shop of its own, with 50 products, stopped at the end."""
    shops: list[Shop] = []

    def start(**variables: str) -> Shop:
        folder = Path(tempfile.mkdtemp(prefix="shop-"))
        folder.chmod(0o711)  # PostgreSQL may run as another user, who has to get there
        ports = {f"{name}_PORT": str(free_port()) for name in ("PUBLIC", "INTERNAL", "HOOKS")}
        quick = {"DISPATCH_SECONDS": "0.2", "DELIVER_SECONDS": "0.2"}
        environment = {**os.environ, **ports, **quick, **variables}
        log = (folder / "run.log").open("wb")
        command = [sys.executable, "-m", "cli", "run", "--seed", "0"]
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
        shutil.rmtree(shop.folder)
