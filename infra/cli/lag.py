"""`lag`: how many messages each service has not handled yet, and how many it has not published yet."""

from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from cli._options import JsonOutput, OneService, print_json
from cli._system import ServiceGroup

app = typer.Typer()


@app.command()
def lag(service: OneService = None, as_json: JsonOutput = False) -> None:
    """Show how many messages of each topic a service has not handled yet, and how many wait in its outbox."""
    services = ServiceGroup(service)
    found = services.request("GET", "lag")
    if as_json:
        print_json(found)
    elif found:
        Console().print(_table(found))
    services.raise_if_incomplete(next((it["outage"] for it in found.values() if it["outage"]), None))


def _table(found: dict[str, Any]) -> Table:
    table = Table("service", "topic", "behind", "in outbox", "oldest")
    for column in table.columns[2:]:
        column.justify = "right"
    table.columns[1].no_wrap = True
    for name, it in found.items():
        topics = {"?": "?"} if it["topics"] is None else it["topics"] or {"-": "-"}
        seconds = it["outbox"]["oldest_seconds"]
        outbox = (str(it["outbox"]["messages"]), "" if seconds is None else f"{seconds:.1f} s")
        for number, (topic, behind) in enumerate(topics.items()):
            table.add_row(*((name, topic, str(behind), *outbox) if number == 0 else ("", topic, str(behind))))
    return table
