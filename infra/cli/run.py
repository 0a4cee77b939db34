"""`run`: the whole system as child processes of this command."""

from typing import Annotated, Literal

import typer
from rich.console import Console

app = typer.Typer()
Broker = Annotated[
    Literal["kafka", "pulsar", "memory"],
    typer.Option(envvar="BROKER", help="The broker of messages; memory runs all services in one process."),
]


@app.command()
def run(
    excluded: Annotated[
        list[str], typer.Option("--except", help="Services to leave out, comma-separated; start them by hand.")
    ] = [],  # noqa: B006
    broker: Broker = "kafka",
    seed: Annotated[int, typer.Option(min=0, help="How many products the first run creates.")] = 1000,
) -> None:
    """Run the whole system until Ctrl-C."""
    from local.run import run_system

    names = {name for part in excluded for name in part.split(",") if name}
    run_system(Console(), broker, names, seed)
