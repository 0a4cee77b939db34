"""`status`: which processes run, and how much memory they take."""

from dataclasses import asdict

import typer
from rich.console import Console

from cli._options import JsonOutput, print_json
from cli._system import require_running_system
from local.display import format_megabytes, process_table
from local.supervisor import memory_of

app = typer.Typer()


@app.command()
def status(as_json: JsonOutput = False) -> None:
    """Show every child process: state, pid, port, restarts, memory. Exit code 1 when nothing runs."""
    system = require_running_system()
    memory = [memory_of(child.pid) for child in system.children]
    if as_json:
        children = [asdict(child) | {"memory": used} for child, used in zip(system.children, memory, strict=True)]
        summary = {"pid": system.pid, "broker": system.broker, "ready_seconds": system.ready_seconds}
        return print_json(summary | {"children": children})
    console = Console()
    console.print(process_table(system.children, memory))
    total = format_megabytes(sum(memory) + memory_of(system.pid, family=False))
    console.print(f"process {system.pid}, memory {total}")
