"""`make bench`: what an order costs in the running shop, what it costs at least, and whether it all balances.

Counted is everything from the checkout on: its way through the gateway, and all that follows until the order is
delivered and paid, every read model shows it and no message is left. The carrier takes no time. The carts are filled
before, which is listed beside. Orders are placed in rounds, because a customer has one cart at a time.
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
from loadtests.audit import audit, so_far
from loadtests.load import Load, ProcessKill, at_once
from loadtests.meter import Meter, spent
from loadtests.report import Report, show
from loadtests.shop import Customer, Shop, open_shop
from local.postgres import Postgres

MOST_CUSTOMERS = 128
PRODUCTS = 1000
LEAST_FLOOR_ORDERS = 1000  # fewer take a second of CPU together, in which everything else shows
SUPERVISOR, LOAD = "supervisor", "load generator"
NO_DELAY = {"DISPATCH_SECONDS": "0", "DELIVER_SECONDS": "0"}

Faults = Literal["kind", "cruel"]
Broker = Literal["kafka", "pulsar"]
T = TypeVar("T")

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def main(
    orders: Annotated[int, typer.Option(min=1, help="How many are measured.")] = 400,
    concurrency: Annotated[int, typer.Option(min=1, help="How many are placed at once.")] = 32,
    outside: Annotated[Faults, typer.Option(help="How provider and carrier behave.")] = "kind",
    broker: Annotated[Broker, typer.Option(help="Which broker carries the messages, of shop and floor.")] = "kafka",
    kill_broker: Annotated[
        bool,
        typer.Option("--kill-broker", help="ProcessKill -9 the broker after a third of the orders; no floor then."),
    ] = False,
    folder: Annotated[Path | None, typer.Option(help="Where the shop lives and stays; else it is thrown away.")] = None,
    profiled: Annotated[bool, typer.Option("--profile", help="Show where the services spend their time.")] = False,
    with_floor: Annotated[bool, typer.Option("--floor/--no-floor", help="Measure the floor as well.")] = True,
) -> None:
    """Place orders, measure them, and audit the shop."""
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    try:
        with open_shop(NO_DELAY | {"BROKER": broker}, folder, PRODUCTS) as shop:
            plan = BenchPlan(
                orders, concurrency, outside, broker, kill_broker, with_floor and not kill_broker, profiled
            )
            report = asyncio.run(bench(shop, plan))
    except (AssertionError, floor.FloorFailed) as error:
        console.print(f"[bold red]not in balance[/]: {error}")
        raise typer.Exit(1) from error
    show(console, report)
    if report.floor and not report.floor.valid:
        console.print(
            f"[bold red]floor not valid[/]: more than {floor.MOST_CPU_MS[broker]} CPU-ms, the machine is too busy"
        )
        raise typer.Exit(1)


@dataclass(frozen=True)
class BenchPlan:
    """What is to be measured."""

    orders: int
    concurrency: int
    outside: Faults
    broker: Broker
    kill_broker: bool
    with_floor: bool
    profiled: bool


async def bench(shop: Shop, plan: BenchPlan) -> Report:
    """Measure a shop and audit it; raises AssertionError or FloorFailed when something was lost or doubled."""
    orders, concurrency = plan.orders, plan.concurrency
    least = await _floor(shop, plan) if plan.with_floor else None
    async with httpx.AsyncClient() as http:
        (await http.put(f"{shop.url('outside')}/settings", json={"mood": plan.outside})).raise_for_status()
    before, earlier = await so_far(shop)
    rounds = -(-orders // MOST_CUSTOMERS)
    async with AsyncExitStack() as stack:
        entering = [stack.enter_async_context(shop.customer()) for _ in range(-(-orders // rounds))]
        load = Load(shop, await at_once(concurrency, entering), concurrency, await _products(shop))
        await load.fill_carts(load.customers)
        warm_up = await load.place(load.customers)
        measured = BenchMeasurement(_meter(shop, plan), profile.Sampler(shop, plan.profiled))
        kill = ProcessKill(load, plan.broker, orders // 3)
        killing = asyncio.create_task(kill.run()) if plan.kill_broker else None
        for number in range(rounds):
            await measured.round(load, load.customers[: len(range(number, orders, rounds))])
    if killing is not None:
        await killing
    outcomes = await audit(shop, [*earlier, *warm_up, *measured.ids], before)
    return Report(
        title=f"{orders} orders over {plan.broker}, {concurrency} at once, the outside world is {plan.outside}",
        orders=orders,
        seconds=measured.seconds,
        accepted_seconds=load.accepted_seconds[len(warm_up) :],
        confirmed_seconds=await _confirmed_seconds(shop, measured.ids),
        cpu=measured.cpu,
        cart_cpu=measured.cart_cpu,
        not_counted=LOAD,
        memory=measured.meter.bytes(),
        outcomes=outcomes,
        floor=least,
        profiles=measured.sampler.profiles,
        refused=load.refused,
        standstill_seconds=await kill.standstill() if plan.kill_broker else None,
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

    async def round(self, load: Load, customers: Sequence[Customer]) -> None:
        await self._metered(self.cart_cpu, lambda: load.fill_carts(customers))
        with self.sampler:
            started = time.monotonic()
            self.ids += await self._metered(self.cpu, lambda: load.place(customers))
            self.seconds += time.monotonic() - started

    async def _metered(self, sums: defaultdict[str, float], act: Callable[[], Awaitable[T]]) -> T:
        before = self.meter.seconds()
        done = await act()
        for name, seconds in spent(before, self.meter.seconds()).items():
            sums[name] += seconds
        return done


async def _floor(shop: Shop, plan: BenchPlan) -> floor.Floor:
    postgres = Postgres(shop.state / "postgres", int(shop.url("postgres").rpartition(":")[2]))
    pids = {name: shop.pid(name) for name in ("postgres", plan.broker)}
    servers = floor.FloorServers(postgres, plan.broker, shop.url(plan.broker), pids)
    measured = await floor.measure(servers, max(plan.orders, LEAST_FLOOR_ORDERS), plan.concurrency)
    await asyncio.to_thread(postgres.flush)  # what it left to be written is not the shop's
    return measured


def _meter(shop: Shop, plan: BenchPlan) -> Meter:
    """Every process of the shop by its name. What helps beside a first start has ended by then, or is listed too.

    A broker that is to be killed is left out, and so is the supervisor, which inherits what that has spent.
    """
    names = {child["pid"]: child["name"] for child in shop.told["children"]}
    supervisor = psutil.Process(shop.told["pid"])
    children = {names.get(child.pid, f"helper {child.pid}"): child.pid for child in supervisor.children()}
    children |= {SUPERVISOR: supervisor.pid, LOAD: psutil.Process().pid}
    if plan.kill_broker:
        del children[plan.broker], children[SUPERVISOR]
    return Meter(children, alone=[SUPERVISOR, LOAD])


async def _products(shop: Shop) -> list[str]:
    async with shop.database("product") as product:
        return [str(row["product_id"]) for row in await product.fetch("SELECT product_id FROM stock")]


async def _confirmed_seconds(shop: Shop, ids: list[UUID]) -> list[float]:
    """From placed to confirmed, as the orders' steps tell it."""
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
