"""`messages`: the messages between the services, live or of one order."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Any
from uuid import UUID

import typer

import contracts
from chassis.message import message_types
from cli._options import JsonOutput, print_json
from cli._system import ServiceGroup
from cli._trace import build_trace, format_trace
from local.errors import CommandError

app = typer.Typer(
    name="messages", help="Watch messages, and trace those of an order across the services.", no_args_is_help=True
)
POLL_SECONDS, BROKER_POLL_SECONDS = 0.5, 5
BODY_CHARACTERS = 80


@app.command()
def tail(
    type_: Annotated[
        str | None, typer.Option("--type", help="Only this type: `StockReserved` or product.stock_reserved.v1.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Only messages with this key, such as the id of an order.")] = None,
    service: Annotated[str | None, typer.Option(help="Only messages that this service sends.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs: one message a line.")] = False,
) -> None:
    """Show messages as they are published, until Ctrl-C."""
    filters = {"key": key, "type": type_ and _wire_type(type_)}
    services, stop = ServiceGroup(service), threading.Event()

    def interrupt(*_: object) -> None:
        """Python drops a KeyboardInterrupt that is raised during a garbage collection, so the event is set too."""
        stop.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    with suppress(KeyboardInterrupt):
        for message in _published(services, {name: it for name, it in filters.items() if it is not None}, stop):
            typer.echo(json.dumps(message) if as_json else _format_message(message))
    services.raise_if_incomplete()


@app.command()
def trace(order_id: UUID, as_json: JsonOutput = False) -> None:
    """Show every message of an order under its cause: who sent it when, and who handled it when."""
    services = ServiceGroup()
    found = build_trace(str(order_id), services)
    if as_json:
        print_json(found)
    elif found:
        typer.echo("\n".join(format_trace(found, "?" if services.missing else "no consumer")))
    elif not services.missing:
        raise CommandError(f"no service has a message of {order_id}: published messages are kept for 7 days")
    unpublished = any(it["published_at"] is None for it in found)
    services.raise_if_incomplete(_broker_error(services) if unpublished else None)


def _published(services: ServiceGroup, filters: dict[str, str], stop: threading.Event) -> Iterator[Any]:
    """The messages that are published from now on. Reports on stderr, once each, what goes away and what comes back."""
    after: dict[str, str | None] = dict.fromkeys(services.names)
    reported: dict[str, str] = {}
    broker_error: str | None = None
    poll_broker_at, watching = 0.0, False
    while not stop.is_set():
        params = {name: {"params": filters | ({"after": it} if it else {})} for name, it in after.items()}
        answers = services.request_each("GET", "messages/published", params)
        after |= {name: it["next_after"] for name, it in answers.items()}
        messages = [message for it in answers.values() for message in it["messages"]]
        yield from sorted(messages, key=lambda it: str(it["published_at"]))
        if not watching:
            if not answers:
                services.raise_if_incomplete()
            typer.echo(f"watching {', '.join(services.names)} from now on; Ctrl-C ends it", err=True)
            watching = True
        if time.monotonic() >= poll_broker_at:
            poll_broker_at = time.monotonic() + BROKER_POLL_SECONDS
            broker_error = _broker_error(services)
        _report_changes(reported, services.missing | ({"the broker": broker_error} if broker_error else {}))
        if not messages:
            stop.wait(POLL_SECONDS)


def _report_changes(before: dict[str, str], now: dict[str, str]) -> None:
    for name in now.keys() - before.keys():
        typer.echo(f"{name} is away, the rest goes on: {now[name]}", err=True)
    for name in before.keys() - now.keys():
        typer.echo(f"{name} is back", err=True)
    before.clear()
    before.update(now)


def _broker_error(services: ServiceGroup) -> str | None:
    """What the first service that answers, and that consumes from the broker, reports about the broker."""
    for name in services.names:
        for it in services.request_each("GET", "lag", {name: {}}).values():
            if it["outage"] or it["topics"]:
                return str(it["outage"]) if it["outage"] else None
    return None


def _format_message(message: Any) -> str:
    moment = datetime.fromisoformat(message["published_at"]).astimezone()
    body = message["body"]
    short = body if len(body) <= BODY_CHARACTERS else body[: BODY_CHARACTERS - 1] + "…"
    way = f"{message['source']} → {message['topic']}"
    return f"{moment:%H:%M:%S.%f}"[:-3] + f"  {way:38} {message['type']:34} {message['key']}  {short}  {message['id']}"


def _wire_type(name: str) -> str:
    """The wire type of a message that is named by its class or by its wire type."""
    for module in iter_modules(contracts.__path__):
        import_module(f"contracts.{module.name}")
    types = {cls.__name__: cls.wire_type for cls in message_types()}
    if name in types.values():
        return name
    if name not in types:
        near = get_close_matches(name, [*types, *types.values()], n=3)
        raise CommandError(f"there is no message {name}" + (f"; similar: {', '.join(near)}" if near else ""))
    return types[name]
