"""`orders`: those that somebody has to look at, and what to do about them."""

import json
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from cli._system import internal

app = typer.Typer(name="orders", help="Find orders that are stuck, and let them go on.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command()
def stuck(as_json: Json = False) -> None:
    """Orders that wait for somebody: an answer that never came, money that could not be captured or given back."""
    gateway, found, cursor = internal(), [], None
    while True:
        params = {"limit": 100} | ({"cursor": cursor} if cursor else {})
        page = gateway.call("GET", "/order/stuck-orders", params=params)
        found += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break
    if as_json:
        return Console().print_json(json.dumps(found))
    table = Table("order", "since", "status", "attention", "stock", "payment", "shipment")
    for it in found:
        legs = (it["stock"], it["payment"], it["shipment"])
        table.add_row(it["order_id"], it["changed_at"], it["status"], it["attention"], *legs)
    Console().print(table if found else "No order is stuck.")


@app.command()
def resume(
    order_id: Annotated[UUID, typer.Argument(help="As `orders stuck` shows it.")],
    write_off: Annotated[bool, typer.Option("--write-off", help="Give up money that cannot be captured.")] = False,
    as_json: Json = False,
) -> None:
    """Ask again for what did not come. The order is stuck again if that does not come either."""
    answer = internal().call("POST", f"/order/orders/{order_id}/resumption", json={"write_off": write_off})
    if as_json:
        return Console().print_json(json.dumps(answer))
    Console().print(f"order {order_id} goes on: {answer['status']}", soft_wrap=True)
