"""`orders`: orders that need an operator, and what the operator can do about them."""

from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from cli._options import JsonOutput, print_json
from cli._system import internal_gateway

app = typer.Typer(name="orders", help="Find orders that are stuck, and let them go on.", no_args_is_help=True)


@app.command()
def stuck(as_json: JsonOutput = False) -> None:
    """List orders that wait: for an answer that did not come, for money that could not be captured or refunded."""
    gateway, found, cursor = internal_gateway(), [], None
    while True:
        params = {"limit": 100} | ({"cursor": cursor} if cursor else {})
        page = gateway.call("GET", "/order/stuck-orders", params=params)
        found += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break
    if as_json:
        return print_json(found)
    table = Table("order", "since", "status", "attention", "stock", "payment", "shipment")
    for it in found:
        legs = (it["stock"], it["payment"], it["shipment"])
        table.add_row(it["order_id"], it["changed_at"], it["status"], it["attention"], *legs)
    Console().print(table if found else "No order is stuck.")


@app.command()
def resume(
    order_id: Annotated[UUID, typer.Argument(help="The id of an order, as `orders stuck` shows it.")],
    write_off: Annotated[
        bool, typer.Option("--write-off", help="Write off an amount that cannot be captured.")
    ] = False,
    as_json: JsonOutput = False,
) -> None:
    """Send the unanswered commands of an order again. If the answers do not come, the order is stuck again."""
    answer = internal_gateway().call("POST", f"/order/orders/{order_id}/resumption", json={"write_off": write_off})
    if as_json:
        return print_json(answer)
    Console().print(f"order {order_id} goes on: {answer['status']}", soft_wrap=True)
