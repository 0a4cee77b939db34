"""The command of `make bench-messaging`, and its tables."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from chassis.process.ports import reserve_port
from loadtests.clients import CLIENTS
from loadtests.messaging.hand_written import ClientPath, HandWrittenPath
from loadtests.messaging.measure import BenchFailed, Measurement, MessagingBench
from loadtests.messaging.paths import ChassisPath
from loadtests.messaging.service import BODY_BYTES
from local.errors import CommandError
from local.kafka import Kafka
from local.postgres import Postgres
from local.pulsar import Pulsar

PATHS = {"chassis": ChassisPath, "by hand": HandWrittenPath, "client": ClientPath}
LATENCY_MESSAGES = 200
RELAY_MESSAGES = 50_000


@dataclass(frozen=True)
class MessagingPlan:
    """What is to be measured on each broker."""

    batches: Sequence[int]
    messages: int
    warm_up: int
    backlog: int


app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def main(
    brokers: Annotated[str, typer.Option(help="The brokers to measure, comma-separated.")] = ",".join(CLIENTS),
    batches: Annotated[
        str, typer.Option(help="Messages in one transaction of either side, comma-separated.")
    ] = "1,16,100",
    messages: Annotated[int, typer.Option(min=10, help="How many messages each measurement has.")] = 5000,
    warm_up: Annotated[int, typer.Option(min=1, help="How many messages warm up the Java runtime.")] = 1000,
    backlog: Annotated[int, typer.Option(min=0, help="Rows in the outbox behind a relay; 0 for none.")] = 1_000_000,
) -> None:
    """Measure a message from outbox to handler: in a service, hand-written, and with the broker's client alone."""
    names = brokers.split(",")
    if unknown := set(names) - CLIENTS.keys():
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: not one of {', '.join(CLIENTS)}")
    if not all(batch.isdecimal() and int(batch) for batch in batches.split(",")):
        raise typer.BadParameter(f"{batches}: not numbers from 1, with commas")
    plan = MessagingPlan([int(batch) for batch in batches.split(",")], messages, warm_up, backlog)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(f"{messages} messages of {BODY_BYTES} bytes, load average {os.getloadavg()[0]:.1f}")
    try:
        with servers() as (folder, postgres), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for name in names:
                with broker(name, folder, postgres) as bench:
                    runner.run(measure_broker(console, bench, plan))
    except (CommandError, BenchFailed) as error:
        console.print(f"[bold red]bench-messaging[/]: {error}")
        raise typer.Exit(1) from error


@contextmanager
def servers() -> Iterator[tuple[Path, Postgres]]:
    """PostgreSQL in a temporary folder, which has room for other servers, too."""
    with tempfile.TemporaryDirectory(prefix="messaging-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL may run as another user, which has to reach the folder
        postgres = Postgres(folder / "postgres", reserve_port())
        with postgres:
            yield folder, postgres


@contextmanager
def broker(name: str, folder: Path, postgres: Postgres) -> Iterator[MessagingBench]:
    if name == "kafka":
        with Kafka(folder / name, reserve_port()) as kafka:
            yield MessagingBench(postgres, name, kafka, kafka.address, {"kafka_bootstrap_servers": kafka.address})
    elif name == "pulsar":
        with Pulsar(folder / name, reserve_port()) as pulsar:
            settings = {"pulsar_url": pulsar.url, "pulsar_admin_url": pulsar.admin_url}
            yield MessagingBench(postgres, name, pulsar, pulsar.url, settings)
    else:
        yield MessagingBench(postgres, name)


async def measure_broker(console: Console, bench: MessagingBench, plan: MessagingPlan) -> None:
    table = Table(title=f"\n{bench.broker}", title_justify="left", box=None, header_style="bold")
    for column in ("path", "batch", "messages/s", "CPU-ms/1000", "by process", "to by hand"):
        table.add_column(column, justify="left" if column in ("path", "by process") else "right")
    for batch in plan.batches:
        found = {name: await bench.throughput(path, batch, plan.messages, plan.warm_up) for name, path in PATHS.items()}
        for name, measured in found.items():
            ratio = f"{measured.cpu_ms / found['by hand'].cpu_ms:.2f}"
            table.add_row(
                name, str(batch), f"{measured.rate:.0f}", f"{measured.cpu_ms:.0f}", cpu_by_process(measured), ratio
            )
    console.print(table)
    for name, path in (("chassis", ChassisPath), ("by hand", HandWrittenPath)):
        p50, p99 = await bench.latency(path, min(LATENCY_MESSAGES, plan.messages))
        console.print(f" idle, commit → handler, {name}: p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms")
    if backlog := plan.backlog:
        count = min(RELAY_MESSAGES, backlog)
        pairs = [(await bench.relay(count), await bench.relay(count, backlog)) for _ in range(2)]
        without, before = (one + other for one, other in zip(*pairs, strict=True))
        console.print(
            f" relay: {without.rate:.0f}/s and {without.cpu_ms:.0f} CPU-ms/1000 with no backlog,"
            f" {before.rate:.0f}/s and {before.cpu_ms:.0f} before {backlog} rows: {before.rate / without.rate:.2f}"
        )
    console.print(f" load average {os.getloadavg()[0]:.1f}")


def cpu_by_process(measured: Measurement) -> str:
    return ", ".join(f"{name} {seconds * 1e6 / measured.messages:.0f}" for name, seconds in measured.cpu.items())


if __name__ == "__main__":
    app()
