"""`rebuild`: build the read models of the aggregator again, from the exports of the services that own the data."""

import time
from typing import Any

import typer
from rich.console import Console

from cli._options import JsonOutput, print_json
from cli._system import internal_gateway

app = typer.Typer()
POLL_SECONDS = 0.5
STAGES = {
    "products": "copying products",
    "orders": "copying orders",
    "old_products": "removing old products",
    "old_orders": "removing old orders",
}


@app.command()
def rebuild(as_json: JsonOutput = False) -> None:
    """Build new read models while the old ones serve. Joins a rebuild that is in progress.

    The rebuild goes on in the background when this command is interrupted, and after a crash of its process.
    """
    gateway = internal_gateway()
    found = gateway.call("POST", "/aggregator/rebuilds")
    with Console(stderr=True).status("") as shown:
        while found["stage"] != "done":
            shown.update(f"{STAGES[found['stage']]}: {_format_counts(found)}")
            time.sleep(POLL_SECONDS)
            found = gateway.call("GET", "/aggregator/rebuilds/current")
    if as_json:
        print_json(found)
    else:
        Console().print(f"The read models are new: {_format_counts(found)}")


def _format_counts(found: Any) -> str:
    return f"{found['products']} products, {found['orders']} orders, {found['removed']} old rows removed"
