"""`status`: what runs, and how much memory it takes."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from local import state
from local.display import megabytes, table
from local.errors import CommandError
from local.supervisor import memory_of

app = typer.Typer()


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Show every child: state, process, port, restarts, memory. Exit code 1 when nothing runs."""
    running = state.running()
    if running is None:
        raise CommandError(f"nothing runs in {state.folder().parent}")
    memory = [memory_of(child.pid) for child in running.children]
    console = Console()
    if as_json:
        children = [asdict(child) | {"memory": used} for child, used in zip(running.children, memory, strict=True)]
        told = {"pid": running.pid, "broker": running.broker, "ready_seconds": running.ready_seconds}
        return console.print_json(json.dumps(told | {"children": children}))
    console.print(table(running.children, memory))
    console.print(f"process {running.pid}, memory {megabytes(sum(memory) + memory_of(running.pid, family=False))}")
