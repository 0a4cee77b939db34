"""`make bench` in small: its table with harsh faults, and that it ends red when a piece is missing."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import psutil
import pytest
from typer.testing import CliRunner

from loadtests import bench
from loadtests.audit import audit_shop, initial_stock_and_orders
from loadtests.floor import Floor, FloorFailed, FloorServers, measure
from loadtests.meter import Meter
from loadtests.report import Report
from loadtests.shop import Shop
from local.postgres import Postgres
from local.pulsar import Pulsar
from servers import Servers

in_a_shop_of_its_own = pytest.mark.xdist_group("bench")
PRINTED = [
    "CPU-ms/order", "cart, not counted", "memory MB", "completed orders/s", "accepted, p50", "confirmed, p50",
    "CPU-ms per order", "audit", "postgres", "pulsar", "envoy", "simulators", "supervisor",
    "aggregator", "notification", "order", "payment", "product", "shipping", "user",
]  # fmt: skip
PARENT = """
import subprocess, sys, time
burn = "import time\\nwhile time.process_time() < 0.3: pass"
subprocess.run([sys.executable, "-c", burn])
print(flush=True)
time.sleep(60)
"""
OPEN_SHOP = """
import pathlib, sys, time
from loadtests import shop
def wait(opened, process):
    print(process.pid, flush=True)
    time.sleep(60)
shop._wait_until_ready = wait
with shop.open_shop({"BROKER": "memory"}, pathlib.Path(sys.argv[1])): pass
"""
# A cruel world is slower than services wait, which is long otherwise.
IMPATIENT = {
    "PAYMENT_PROVIDER_TIMEOUT_SECONDS": "2",
    "SHIPPING_CARRIER_TIMEOUT_SECONDS": "2",
    "SLOW_SECONDS": "3",
    "WEBHOOK_LATE_SECONDS": "1",
}
TAKE_ONE = "UPDATE stock SET on_hand = on_hand - 1 WHERE product_id IN (SELECT product_id FROM stock LIMIT 1)"


def start_bench(folder: Path, faults: str, *more: str) -> "subprocess.Popen[bytes]":
    options = ["--orders", "20", "--concurrency", "4", "--no-floor", "--faults", faults, "--folder", str(folder)]
    command = [sys.executable, "-m", "loadtests.bench", *options, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | IMPATIENT)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where the shop stays from one bench to the next, which then starts sooner."""
    with TemporaryDirectory(prefix="bench-") as name:
        yield Path(name)


@in_a_shop_of_its_own
async def test_orders_on_pulsar_are_in_balance_with_harsh_faults(folder: Path) -> None:
    started = start_bench(folder, "harsh", "--broker", "pulsar")
    output = await end(started)
    assert started.returncode == 0, output
    assert [word for word in PRINTED if word not in output] == []


@pytest.mark.xdist_group("shop")
@pytest.mark.usefixtures("left_at_rest")
async def test_a_piece_that_is_missing_in_the_stock_turns_the_audit_red(shop: Shop) -> None:
    before, orders = await initial_stock_and_orders(shop)
    await audit_shop(shop, orders, before)
    async with shop.database("product") as product:
        await product.execute(TAKE_ONE)
        with pytest.raises(AssertionError):
            await audit_shop(shop, orders, before)
        await product.execute(TAKE_ONE.replace("on_hand - 1", "on_hand + 1"))


def test_an_audit_that_is_red_ends_the_bench_red(monkeypatch: pytest.MonkeyPatch) -> None:
    async def find(*_: object) -> Report:
        raise AssertionError("a piece is missing")

    monkeypatch.setattr(bench, "open_shop", lambda *_: nullcontext())
    monkeypatch.setattr(bench, "run_bench", find)
    ended = CliRunner().invoke(bench.app)
    assert (ended.exit_code, ended.output) == (1, "not in balance: a piece is missing\n")


@pytest.mark.long
@in_a_shop_of_its_own
async def test_a_piece_that_is_missing_in_the_stock_ends_it_red(folder: Path) -> None:
    started = start_bench(folder, "none")
    shop = Shop(folder)
    await until_more_orders(shop, started)
    async with shop.database("product") as product:
        await product.execute(TAKE_ONE)
    output = await end(started)
    assert started.returncode == 1, output
    assert "not in balance" in output


@pytest.mark.long
@in_a_shop_of_its_own
@pytest.mark.parametrize("broker", ["kafka", "pulsar"])
async def test_kill_9_of_the_broker_in_the_middle_loses_no_order(folder: Path, broker: str) -> None:
    started = start_bench(folder, "none", "--broker", broker, "--kill-broker")
    output = await end(started)
    assert started.returncode == 0, output
    assert "20 accepted" in output
    assert "in balance" in output


async def end(bench: "subprocess.Popen[bytes]") -> str:
    output, _ = await asyncio.to_thread(bench.communicate)
    return output.decode()


async def until_more_orders(shop: Shop, bench: "subprocess.Popen[bytes]") -> None:
    """Until the bench has begun to place them: what was there before it has looked at already."""
    earlier: int | None = None
    while True:
        await asyncio.sleep(0.1)
        assert bench.poll() is None, await end(bench)
        with suppress(OSError, KeyError, asyncpg.PostgresError):  # it is starting
            async with shop.database("order") as order:
                count = await order.fetchval("SELECT count(*) FROM orders")
                earlier = count if earlier is None else earlier
                if count > earlier:
                    return


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres.temporary() as server:
        yield server


@pytest.mark.parametrize(
    "broker",
    [
        pytest.param("kafka", marks=pytest.mark.xdist_group("kafka")),
        pytest.param("pulsar", marks=[pytest.mark.xdist_group("pulsar"), pytest.mark.long]),
    ],
)
async def test_the_floor_brings_every_order_to_its_end_once(postgres: Postgres, servers: Servers, broker: str) -> None:
    found = await measure(with_broker(postgres, servers, broker), orders=50, at_once=8, warm_up=10)
    assert found.orders == 50
    assert set(found.seconds) == {"postgres", broker, "order", "product", "payment", "shipping", "aggregator"}


@pytest.mark.xdist_group("kafka")
async def test_a_floor_that_loses_a_piece_is_refused(postgres: Postgres, servers: Servers) -> None:
    async def take_one() -> None:
        while True:
            await asyncio.sleep(0.05)
            with suppress(asyncpg.PostgresError):  # it is not there yet
                connection = await asyncpg.connect(postgres.url(), database="floor_product")
                taken = await connection.execute(TAKE_ONE)
                await connection.close()
                if taken == "UPDATE 1":
                    return

    taking = asyncio.create_task(take_one())
    with pytest.raises(FloorFailed, match="stock"):
        await measure(with_broker(postgres, servers, "kafka"), orders=20, at_once=4, warm_up=10)
    await taking


def with_broker(postgres: Postgres, servers: Servers, name: str) -> FloorServers:
    broker, _ = servers(name)
    address = broker.url if isinstance(broker, Pulsar) else broker.address
    pids = {it.name: it.process.pid for it in (postgres, broker) if it.process}
    return FloorServers(postgres, broker.name, address, pids)


@pytest.mark.parametrize(("seconds", "valid"), [(0.04, True), (0.11, False)])
def test_a_floor_above_ten_milliseconds_is_not_valid(seconds: float, valid: bool) -> None:
    assert Floor("kafka", 10, {"postgres": seconds / 2, "order": seconds / 2}).valid is valid


def test_what_a_process_spent_that_has_ended_is_counted() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        assert psutil.Process(parent.pid).children() == []
        assert Meter({"parent": parent.pid}).seconds()["parent"] >= 0.3
        parent.kill()


def test_a_shop_stops_when_the_process_is_killed_that_opened_it(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", OPEN_SHOP, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        shop = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([shop], timeout=30)
    assert not shop.is_running()
