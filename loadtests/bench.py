"""`make bench`: what an order costs in a running shop, beside a lower bound (the floor), with an audit at the end.

The measurement begins with the checkouts at the gateway and ends when the orders are delivered and paid, every read
model shows them and no message is left. The carrier takes no time. The cost of filling the carts is listed separately.
Orders are placed in rounds, because a customer has one cart at a time.
"""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from uuid import UUID

import httpx
import psutil
import typer
from rich.console import Console

from loadtests import floor, profile
from loadtests.audit import audit_shop, initial_stock_and_orders
from loadtests.load import Load, ProcessKill, run_concurrently
from loadtests.meter import Meter, difference
from loadtests.report import Report, print_report
from loadtests.shop import Customer, Shop, open_shop
from local.postgres import Postgres

MAX_CUSTOMERS = 128
PRODUCTS = 1000
MIN_FLOOR_ORDERS = 1000  # fewer take so little CPU that other programs distort the result
SUPERVISOR, LOAD = "supervisor", "load generator"
NO_DELAY = {"DISPATCH_SECONDS": "0", "DELIVER_SECONDS": "0"}

Faults = Literal["none", "harsh"]  # names in `simulators.faults.FAULT_PROFILES`
Broker = Literal["kafka", "pulsar"]
T = TypeVar("T")

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def main(
    orders: Annotated[int, typer.Option(min=1, help="How many orders are measured.")] = 400,
    concurrency: Annotated[int, typer.Option(min=1, help="How many orders are placed at once.")] = 32,
    faults: Annotated[Faults, typer.Option(help="The faults of provider, carrier and mail server.")] = "none",
    broker: Annotated[Broker, typer.Option(help="The broker of shop and floor.")] = "kafka",
    kill_broker: Annotated[
        bool,
        typer.Option("--kill-broker", help="Kill the broker with -9 after a third of the orders; without floor."),
    ] = False,
    folder: Annotated[
        Path | None, typer.Option(help="Keep the shop's data in this folder; deleted without it.")
    ] = None,
    profiled: Annotated[
        bool, typer.Option("--profile", help="Show in which functions the services spend CPU.")
    ] = False,
    with_floor: Annotated[bool, typer.Option("--floor/--no-floor", help="Measure the floor, too.")] = True,
) -> None:
    """Place orders, measure them, and audit the shop."""
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    try:
        with open_shop(NO_DELAY | {"BROKER": broker}, folder, PRODUCTS) as shop:
            plan = BenchPlan(orders, concurrency, faults, broker, kill_broker, with_floor and not kill_broker, profiled)
            report = asyncio.run(run_bench(shop, plan))
    except (AssertionError, floor.FloorFailed) as error:
        console.print(f"[bold red]not in balance[/]: {error}")
        raise typer.Exit(1) from error
    print_report(console, report)
    if report.floor and not report.floor.valid:
        console.print(
            f"[bold red]floor not valid[/]: more than {floor.MAX_CPU_MS[broker]} CPU-ms: the machine is too busy"
        )
        raise typer.Exit(1)


@dataclass(frozen=True)
class BenchPlan:
    """What is to be measured."""

    orders: int
    concurrency: int
    faults: Faults
    broker: Broker
    kill_broker: bool
    with_floor: bool
    profiled: bool


async def run_bench(shop: Shop, plan: BenchPlan) -> Report:
    """Measure a shop and audit it. Raises AssertionError or FloorFailed when something was lost or duplicated."""
    orders, concurrency = plan.orders, plan.concurrency
    lower_bound = await _floor(shop, plan) if plan.with_floor else None
    async with httpx.AsyncClient() as http:
        (await http.put(f"{shop.url('simulators')}/settings", json={"faults": plan.faults})).raise_for_status()
    before, earlier = await initial_stock_and_orders(shop)
    rounds = -(-orders // MAX_CUSTOMERS)
    async with AsyncExitStack() as stack:
        entering = [stack.enter_async_context(shop.customer()) for _ in range(-(-orders // rounds))]
        load = Load(shop, await run_concurrently(concurrency, entering), concurrency, await _products(shop))
        await load.fill_carts(load.customers)
        warm_up = await load.place(load.customers)
        measured = BenchMeasurement(_meter(shop, plan), profile.Sampler(shop, plan.profiled))
        kill = ProcessKill(load, plan.broker, orders // 3)
        killing = asyncio.create_task(kill.run()) if plan.kill_broker else None
        for number in range(rounds):
            await measured.run_round(load, load.customers[: len(range(number, orders, rounds))])
    if killing is not None:
        await killing
    outcomes = await audit_shop(shop, [*earlier, *warm_up, *measured.ids], before)
    return Report(
        title=f"{orders} orders over {plan.broker}, {concurrency} at once, faults: {plan.faults}",
        orders=orders,
        seconds=measured.seconds,
        accepted_seconds=load.accepted_seconds[len(warm_up) :],
        confirmed_seconds=await _confirmed_seconds(shop, measured.ids),
        cpu=measured.cpu,
        cart_cpu=measured.cart_cpu,
        not_counted=LOAD,
        memory=measured.meter.bytes(),
        outcomes=outcomes,
        floor=lower_bound,
        profiles=measured.sampler.profiles,
        refused=load.refused,
        standstill_seconds=await kill.longest_standstill() if plan.kill_broker else None,
    )


@dataclass
class BenchMeasurement:
    """Sums over the rounds."""

    meter: Meter
    sampler: profile.Sampler
    ids: list[UUID] = field(default_factory=list)
    seconds: float = 0
    cpu: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    cart_cpu: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    async def run_round(self, load: Load, customers: Sequence[Customer]) -> None:
        await self._measure(self.cart_cpu, lambda: load.fill_carts(customers))
        with self.sampler:
            started = time.monotonic()
            self.ids += await self._measure(self.cpu, lambda: load.place(customers))
            self.seconds += time.monotonic() - started

    async def _measure(self, sums: defaultdict[str, float], act: Callable[[], Awaitable[T]]) -> T:
        before = self.meter.seconds()
        done = await act()
        for name, seconds in difference(before, self.meter.seconds()).items():
            sums[name] += seconds
        return done


async def _floor(shop: Shop, plan: BenchPlan) -> floor.Floor:
    postgres = Postgres(shop.state_folder / "postgres", int(shop.url("postgres").rpartition(":")[2]))
    pids = {name: shop.pid(name) for name in ("postgres", plan.broker)}
    servers = floor.FloorServers(postgres, plan.broker, shop.url(plan.broker), pids)
    measured = await floor.measure(servers, max(plan.orders, MIN_FLOOR_ORDERS), plan.concurrency)
    await asyncio.to_thread(postgres.checkpoint)  # the shop is not to pay for the floor's dirty pages
    return measured


def _meter(shop: Shop, plan: BenchPlan) -> Meter:
    """Every process of the shop by its name, also helpers of a first start that have not ended yet.

    A broker that is to be killed is left out, and so is the supervisor, to which the killed broker's CPU time falls.
    """
    names = {child["pid"]: child["name"] for child in shop.running["children"]}
    supervisor = psutil.Process(shop.running["pid"])
    children = {names.get(child.pid, f"helper {child.pid}"): child.pid for child in supervisor.children()}
    children |= {SUPERVISOR: supervisor.pid, LOAD: psutil.Process().pid}
    if plan.kill_broker:
        del children[plan.broker], children[SUPERVISOR]
    return Meter(children, alone=[SUPERVISOR, LOAD])


async def _products(shop: Shop) -> list[str]:
    async with shop.database("product") as product:
        return [str(row["product_id"]) for row in await product.fetch("SELECT product_id FROM stock")]


async def _confirmed_seconds(shop: Shop, ids: list[UUID]) -> list[float]:
    """Seconds from placed to confirmed, from the steps of the orders."""
    async with shop.database("order") as order:
        rows = await order.fetch(
            "SELECT extract(epoch FROM confirmed.at - placed.at)::float AS seconds FROM steps confirmed"
            " JOIN steps placed USING (order_id) WHERE order_id = ANY($1)"
            " AND confirmed.status = 'confirmed' AND placed.status = 'placed'",
            ids,
        )
    return [row["seconds"] for row in rows]


if __name__ == "__main__":
    app()
