"""Options that several commands have, and how a command prints JSON."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console

JsonOutput = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
OneService = Annotated[str | None, typer.Argument(help="The name of a service; all services without it.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


def print_json(value: Any) -> None:
    Console().print_json(json.dumps(value))
