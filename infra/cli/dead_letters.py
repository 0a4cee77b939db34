"""`parked`: messages that a service could not handle, and what to do with them."""

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from cli._system import ServiceGroup, internal, known
from local.errors import CommandError

app = typer.Typer(name="parked", help="Show, replay and drop messages that could not be handled.", no_args_is_help=True)

Service = Annotated[str, typer.Argument(help="Whose message it is, as `parked list` shows it.")]
Key = Annotated[str, typer.Argument(help="As `parked list` shows it.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command("list")
def list_(
    service: Annotated[str | None, typer.Argument(help="One service; without it, all.")] = None,
    as_json: Json = False,
) -> None:
    """The parked messages, oldest first, up to 1000 of each service. Later messages of a key wait behind the first."""
    services = ServiceGroup(service)
    found = [{"service": name, **it} for name, its in services.ask("GET", "parked").items() for it in its]
    if as_json:
        Console().print_json(json.dumps(found))
    elif found or not services.missing:
        for it in found:
            type_ = it["type"] or "unreadable"
            typer.echo(f"{it['service']:12} {it['key']}  {type_:28} {it['parked_at']}  {it['reason']}")
        if not found:
            typer.echo("No message is parked.")
    services.complain()


@app.command()
def show(
    service: Service,
    which: Annotated[str, typer.Argument(help="A key, for the first message of it, or the id of a message.")],
    as_json: Json = False,
) -> None:
    """One message whole, with its body."""
    found = _about(service, which)
    if as_json:
        return Console().print_json(json.dumps(found[0]))
    for name, value in found[0].items():
        typer.echo(f"{name:15}{_pretty(value) if name == 'body' else value}")
    if len(found) > 1:
        typer.echo(f"{len(found) - 1} wait behind it.")


@app.command()
def replay(service: Service, key: Key, as_json: Json = False) -> None:
    """Handle the parked messages of a key again, in order. Exit code 1 when one still fails."""
    answer = internal().call("POST", _path(service, key, "replay"))
    if as_json:
        return Console().print_json(json.dumps(answer))
    Console().print(f"{answer['replayed']} replayed")


@app.command()
def drop(
    service: Service,
    key: Key,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Take the first parked message of a key away for good. Those that wait behind it can be replayed then.

    The service never does what the message said, and nobody sends it again.
    """
    first, *waiting = _about(service, key)
    if first["key"] != key:
        raise CommandError(f"{key} is the id of a message: its key is {first['key']}")
    if not yes:
        typer.confirm(f"Drop {_named(first)} for good? It failed with {first['reason']}", abort=True, err=True)
    dropped = internal().call("POST", _path(service, key, "drop"), params={"id": first["id"]})
    if as_json:
        return Console().print_json(json.dumps(dropped))
    typer.echo(f"dropped {_named(dropped)}: {dropped['body']}")
    if waiting:
        typer.echo(f"{len(waiting)} waited behind it; now: parked replay {service} {key}")


def _about(service: str, which: str) -> Any:
    """The parked messages with this key or id, at least one, the first first."""
    found = internal().call("GET", f"/{known(service)}/internal/parked", params={"about": which})
    if not found:
        raise CommandError(f"{service} has no parked message with the key or id {which}")
    return found


def _path(service: str, key: str, action: str) -> str:
    return f"/{known(service)}/internal/parked/{quote(key)}/{action}"


def _named(message: Any) -> str:
    return f"{message['type'] or 'an unreadable message'} {message['id']}"


def _pretty(body: str) -> str:
    try:
        return "\n" + json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body
