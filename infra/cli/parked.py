"""`parked`: messages that a service could not handle, and what to do with them."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from chassis.service import installed
from cli._system import internal
from local.trouble import Trouble

app = typer.Typer(name="parked", help="Show and replay messages that could not be handled.", no_args_is_help=True)


@app.command("list")
def show(
    service: Annotated[str | None, typer.Argument(help="One service; without it, all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """The parked messages, oldest first. Later messages of the same key wait behind them."""
    gateway = internal()
    names = [_known(service)] if service else list(installed())
    found = [{"service": name, **it} for name in names for it in gateway.call("GET", f"/{name}/internal/parked")]
    if as_json:
        return Console().print_json(json.dumps(found))
    table = Table("service", "key", "type", "parked at", "reason")
    for it in found:
        table.add_row(it["service"], it["key"], it["type"] or "?", it["parked_at"], it["reason"])
    Console().print(table if found else "No message is parked.")


@app.command()
def replay(
    service: str, key: str, as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False
) -> None:
    """Handle the parked messages of a key again, in order. Exit code 1 when one still fails."""
    answer = internal().call("POST", f"/{_known(service)}/internal/parked/{key}/replay")
    if as_json:
        return Console().print_json(json.dumps(answer))
    Console().print(f"{answer['replayed']} replayed")


def _known(service: str) -> str:
    if service not in installed():
        raise Trouble(f"there is no service {service}: {', '.join(installed())}")
    return service
