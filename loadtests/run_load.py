"""`make load`: customers and merchants at the running system, then the audit, then a verdict.

Ends with 0; with 1 when a threshold is broken or the books do not balance; with 3 when the load is invalid, because its
generator was too slow or failed: then its times say nothing about the system.
"""

import asyncio
import os
import subprocess
import sys
import time
import tomllib
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import httpx
import typer
from rich.console import Console
from rich.table import Table

from loadtests.audit import audit_shop, initial_stock_and_orders, wait_until_settled
from loadtests.load import SETTLE_SECONDS, run_concurrently
from loadtests.ops_log import read_ops_logs
from loadtests.plan import FOLDER_VARIABLE, INVALID, MIXES, LoadPlan, World
from loadtests.shop import Shop, register, retry_until_success
from loadtests.verdict import Findings
from local import state
from local.errors import CommandError

SALE_PRODUCTS, SALE_PIECES = 10, 20
CATALOGUE = 1_000
REGISTER_AT_ONCE = 8
STOP_SECONDS = 60  # for journeys that are under way at the end
LOCUSTFILE = Path(__file__).parent / "journeys" / "locustfile.py"
THRESHOLDS = Path(__file__).with_name("thresholds.toml")

app = typer.Typer(pretty_exceptions_enable=False)
console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)


@app.command()
def main(
    users: Annotated[int, typer.Option(min=1, help="How many customers are at work at once.")] = 50,
    spawn: Annotated[float, typer.Option(min=0.1, help="How many customers begin per second.")] = 10,
    duration: Annotated[str, typer.Option("--time", help="How long customers begin journeys: 90s, 2m, 1h.")] = "2m",
    mix: Annotated[str, typer.Option(help=f"How often each journey is begun: {', '.join(MIXES)}.")] = "everyday",
    processes: Annotated[int, typer.Option(min=1, help="Processes of the load generator.")] = 1,
    thresholds: Annotated[Path, typer.Option(exists=True, help="The limits that the load has to keep.")] = THRESHOLDS,
) -> None:
    """Put the running system under load, audit it, and judge what the customers saw."""
    limits = tomllib.loads(thresholds.read_text())
    if mix not in MIXES:
        raise CommandError(f"there is no mix {mix}; there are {', '.join(MIXES)}")
    system = state.running_system()
    if system is None or system.ready_seconds is None:
        raise CommandError("no system is ready here: start one first, with `make run`")
    shop, folder = Shop(state.folder().parent), state.folder() / "loads" / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True)
    stock_before, earlier = asyncio.run(prepare(shop, system, folder, users, mix, processes))
    arguments = ["--users", str(users), "--spawn-rate", str(spawn), "--run-time", duration]
    console.print(f"{users} customers for {duration}; output of Locust, plan and ops log: {folder}")
    valid = run_locust(system.urls["public"], folder, processes, arguments)
    found = Findings.of(read_ops_logs(folder))
    print_findings(found)
    failed = found.broken_thresholds(limits)
    try:
        stock = stock_before + found.pieces_added
        console.print("audit: " + asyncio.run(audit(shop, [*earlier, *map(UUID, found.order_ids)], stock)))
    except AssertionError as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        failed.append(f"audit: not in balance: {error or where.line}")
    if not valid:
        failed.append("invalid: the load generator was too slow or failed, see locust.log")
    for sentence in failed:
        console.print(f"[bold red]{sentence}[/]")
    raise typer.Exit(INVALID if not valid else 1 if failed else 0)


async def prepare(
    shop: Shop, system: state.RunningSystem, folder: Path, users: int, mix: str, processes: int
) -> tuple[int, list[UUID]]:
    """Register the customers and write the plan. Returns the stock before the load, and the ids of earlier orders."""
    async with httpx.AsyncClient(base_url=f"{system.urls['public']}/api/v1", timeout=15) as http, shop.staff() as staff:
        accounts = await run_concurrently(REGISTER_AT_ONCE, [register(http) for _ in range(users + processes)])
        sale = await add_sale(staff)
        world = World(await popular_products(http), sale, system.urls["internal"], system.service_key)
    LoadPlan(mix, processes, accounts, world).write(folder)
    return await initial_stock_and_orders(shop)


async def add_sale(staff: httpx.AsyncClient) -> list[str]:
    """Products with almost no stock. Returns their ids."""
    product = {"description": "", "category": "Sale", "price_cents": 990, "currency": "EUR", "weight_grams": 500}
    ids = [str(uuid4()) for _ in range(SALE_PRODUCTS)]
    products = [{"id": id, "name": f"Flash sale {id[:8]}", "on_hand": SALE_PIECES, **product} for id in ids]
    (await staff.post("/product/products", json=products)).raise_for_status()
    return ids


async def popular_products(http: httpx.AsyncClient) -> list[str]:
    """The first products of the catalogue."""
    found: list[str] = []
    params: dict[str, Any] = {"limit": 100}
    while len(found) < CATALOGUE:
        page = (await retry_until_success(lambda: http.get("/products", params=params))).json()
        found += [product["id"] for product in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    if not found:
        raise CommandError("the catalogue is empty: fill it first, with `make seed`")
    return found


def run_locust(host: str, folder: Path, processes: int, arguments: Sequence[str]) -> bool:
    """Run Locust to its end. Its own output goes to the folder of the load. Returns whether the load is valid."""
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", host, "--headless", *arguments]
    command += ["--stop-timeout", str(STOP_SECONDS), *(["--processes", str(processes)] if processes > 1 else [])]
    environment = os.environ | {FOLDER_VARIABLE: str(folder)}
    with (folder / "locust.log").open("wb") as log:
        code = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False).returncode
    if code not in (0, INVALID):
        raise CommandError(f"Locust ended with {code}: {(folder / 'locust.log').read_text().splitlines()[-1]}")
    return code == 0


async def audit(shop: Shop, order_ids: list[UUID], stock: int) -> str:
    await wait_until_settled(shop, order_ids, SETTLE_SECONDS)
    counted = await audit_shop(shop, order_ids, stock)
    return "in balance, with " + ", ".join(f"{count} orders {status}" for status, count in counted.most_common())


def print_findings(found: Findings) -> None:
    """What the customers saw."""
    table = Table("operation", *(f"[right]{it}" for it in ("done", "refused", "unknown", "p50 ms", "p90 ms", "p99 ms")))
    for name, row in sorted(found.rows.items()):
        counts = [row.outcomes[it] for it in ("ack", "fail", "unknown")]
        table.add_row(name, *map(str, counts), *(f"{row.percentile_ms(percent):.0f}" for percent in (50, 90, 99)))
    console.print(table)
    for title, counter in (
        ("errors", found.errors),
        ("refused requests", found.refusals),
        ("cancelled orders", found.cancellations),
    ):
        console.print(f"{title}: " + (", ".join(f"{count} {name}" for name, count in counter.most_common()) or "none"))


if __name__ == "__main__":
    try:
        app()
    except CommandError as error:
        console.print(f"[bold red]load[/]: {error}")
        sys.exit(1)
