"""`run`: everything as children of this command."""

from typing import Annotated, Literal

import typer
from rich.console import Console

app = typer.Typer()


@app.command()
def run(
    left_out: Annotated[list[str], typer.Option("--except", help="A service to start by hand; may be repeated.")] = [],  # noqa: B006
    broker: Annotated[Literal["kafka", "pulsar", "memory"], typer.Option(envvar="BROKER")] = "kafka",
    seed: Annotated[int, typer.Option(min=0, help="How many products the first run here brings.")] = 1000,
) -> None:
    """Run the whole system until Ctrl-C; with the memory broker all services in one process."""
    import local.run

    names = {name for part in left_out for name in part.split(",") if name}
    local.run.run(Console(), broker, names, seed)
