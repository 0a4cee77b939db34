"""`rebuild`: the read models of the shop anew, from what their owners know."""

import json
import time
from typing import Annotated, Any

import typer
from rich.console import Console

from cli._system import internal

app = typer.Typer()
LOOK_SECONDS = 0.5
STAGES = {
    "products": "copying products",
    "orders": "copying orders",
    "old_products": "removing old products",
    "old_orders": "removing old orders",
}


@app.command()
def rebuild(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Build the read models anew while the old ones serve; joins a rebuild that is under way.

    It goes on in the background when this command is interrupted, and after a crash of its process.
    """
    gateway, console = internal(), Console()
    found = gateway.call("POST", "/aggregator/rebuilds")
    with Console(stderr=True).status("") as shown:
        while found["stage"] != "done":
            shown.update(f"{STAGES[found['stage']]}: {counts(found)}")
            time.sleep(LOOK_SECONDS)
            found = gateway.call("GET", "/aggregator/rebuilds/current")
    if as_json:
        console.print_json(json.dumps(found))
    else:
        console.print(f"The read models are new: {counts(found)}")


def counts(found: Any) -> str:
    return f"{found['products']} products, {found['orders']} orders, {found['removed']} old rows removed"
