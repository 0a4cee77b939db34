"""`messages`: what the services say to each other, as it happens, or all that was said about one order."""

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
from rich.console import Console

import contracts
from chassis.messaging.message import Message
from cli._system import Services
from cli._trace import lines, trace_of
from local.trouble import Trouble

app = typer.Typer(
    name="messages", help="Watch messages, and trace those of an order across the services.", no_args_is_help=True
)
LOOK_SECONDS, BROKER_LOOK_SECONDS = 0.5, 5
BODY_CHARACTERS = 80

Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command()
def tail(
    type_: Annotated[str | None, typer.Option("--type", help="As `StockReserved` or its name on the wire.")] = None,
    key: Annotated[str | None, typer.Option(help="Only messages with this key, such as the id of an order.")] = None,
    service: Annotated[str | None, typer.Option(help="Only what this service sends.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one message a line.")] = False,
) -> None:
    """Show messages as they are published, until Ctrl-C."""
    wanted = {"key": key, "type": type_ and _wire_type(type_)}
    services, stop = Services(service), threading.Event()

    def interrupt(*_: object) -> None:
        """Python drops a KeyboardInterrupt that is raised while it collects garbage, so the event has to be set too."""
        stop.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    with suppress(KeyboardInterrupt):
        for message in _published(services, {name: it for name, it in wanted.items() if it is not None}, stop):
            typer.echo(json.dumps(message) if as_json else _line(message))
    services.complain()


@app.command()
def trace(order_id: UUID, as_json: Json = False) -> None:
    """Every message of an order, each under the one that caused it: who sent it when, and who handled it when."""
    services = Services()
    found = trace_of(str(order_id), services)
    if as_json:
        Console().print_json(json.dumps(found))
    elif found:
        typer.echo("\n".join(lines(found, "?" if services.missing else "nobody")))
    elif not services.missing:
        raise Trouble(f"no service remembers a message of {order_id}: published messages are kept for 7 days")
    waits = any(it["published_at"] is None for it in found)
    services.complain(_broker_trouble(services) if waits else None)


def _published(services: Services, wanted: dict[str, str], stop: threading.Event) -> Iterator[Any]:
    """What the services publish from now on; says on the way who is away, once, and who is back."""
    after: dict[str, str | None] = dict.fromkeys(services.names)
    troubles: dict[str, str] = {}
    look_at, watching = 0.0, False
    while not stop.is_set():
        asked = {name: wanted | ({"after": it} if it else {}) for name, it in after.items()}
        answers = services.ask_each("GET", "messages/published", {name: {"params": it} for name, it in asked.items()})
        after |= {name: it["next_after"] for name, it in answers.items()}
        messages = [message for it in answers.values() for message in it["messages"]]
        yield from sorted(messages, key=lambda it: str(it["published_at"]))
        if not watching:
            if not answers:
                services.complain()
            typer.echo(f"watching {', '.join(services.names)} from now on; Ctrl-C ends it", err=True)
            watching = True
        if time.monotonic() >= look_at:
            look_at = time.monotonic() + BROKER_LOOK_SECONDS
            broker = _broker_trouble(services)
        _say(troubles, services.missing | ({"the broker": broker} if broker else {}))
        if not messages:
            stop.wait(LOOK_SECONDS)


def _say(before: dict[str, str], now: dict[str, str]) -> None:
    """What has begun and what has ended since it was said."""
    for name in now.keys() - before.keys():
        typer.echo(f"{name} is away, the rest goes on: {now[name]}", err=True)
    for name in before.keys() - now.keys():
        typer.echo(f"{name} is back", err=True)
    before.clear()
    before.update(now)


def _broker_trouble(services: Services) -> str | None:
    """What the first that answers and reads from the broker says of it."""
    for name in services.names:
        for it in services.ask_each("GET", "lag", {name: {}}).values():
            if it["trouble"] or it["topics"]:
                return str(it["trouble"]) if it["trouble"] else None
    return None


def _line(message: Any) -> str:
    moment = datetime.fromisoformat(message["published_at"]).astimezone()
    body = message["body"]
    short = body if len(body) <= BODY_CHARACTERS else body[: BODY_CHARACTERS - 1] + "…"
    way = f"{message['source']} → {message['topic']}"
    return f"{moment:%H:%M:%S.%f}"[:-3] + f"  {way:38} {message['type']:34} {message['key']}  {short}  {message['id']}"


def _wire_type(name: str) -> str:
    """The name on the wire of a message that is named by its class or so."""
    for module in iter_modules(contracts.__path__):
        import_module(f"contracts.{module.name}")
    known = {cls.__name__: cls.wire_type for cls in _below(Message) if cls.wire_type}
    if name in known.values():
        return name
    if name not in known:
        near = get_close_matches(name, [*known, *known.values()], n=3)
        raise Trouble(f"there is no message {name}" + (f": {', '.join(near)}?" if near else ""))
    return known[name]


def _below(above: type[Message]) -> Iterator[type[Message]]:
    for cls in above.__subclasses__():
        yield cls
        yield from _below(cls)
