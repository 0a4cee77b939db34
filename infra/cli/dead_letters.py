"""`dead-letters`: list, show, replay and drop messages that a service could not handle (the dead letter queue)."""

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from cli._options import JsonOutput, OneService, Yes, print_json
from cli._system import ServiceGroup, internal_gateway, require_service
from local.errors import CommandError

app = typer.Typer(
    name="dead-letters", help="Show, replay and drop messages that a service could not handle.", no_args_is_help=True
)

Service = Annotated[str, typer.Argument(help="The service that could not handle the message.")]
Key = Annotated[str, typer.Argument(help="The key of the message, as `dead-letters list` shows it.")]


@app.command("list")
def list_(
    service: OneService = None,
    after: Annotated[int, typer.Option(min=0, help="The next page: only those after this `position` (--json).")] = 0,
    as_json: JsonOutput = False,
) -> None:
    """List dead letters, oldest first, up to 1000 of each service. Later messages of a key wait behind the first."""
    if after and service is None:
        raise CommandError("--after needs a service, because each service counts positions of its own")
    services = ServiceGroup(service)
    answers = services.request("GET", "dead-letters", params={"after": after})
    found = [{"service": name, **it} for name, messages in answers.items() for it in messages]
    if as_json:
        print_json(found)
    elif found or not services.missing:
        for it in found:
            type_ = it["type"] or "unreadable"
            typer.echo(f"{it['service']:12} {it['key']}  {type_:28} {it['dead_lettered_at']}  {it['reason']}")
        if not found:
            typer.echo("There are no dead letters.")
    services.raise_if_incomplete()


@app.command()
def show(
    service: Service,
    which: Annotated[str, typer.Argument(help="A key, for its first dead letter, or the id of a message.")],
    as_json: JsonOutput = False,
) -> None:
    """Show one dead letter with its body."""
    found = _dead_letters(service, which)
    if as_json:
        return print_json(found[0])
    for name, value in found[0].items():
        typer.echo(f"{name:15}{_format_body(value) if name == 'body' else value}")
    if len(found) > 1:
        typer.echo(f"{len(found) - 1} wait behind it.")


@app.command()
def replay(service: Service, key: Key, as_json: JsonOutput = False) -> None:
    """Handle the dead letters of a key again, in order. Exit code 1 when one still fails."""
    answer = internal_gateway().call("POST", _path(service, key, "replay"))
    if as_json:
        return print_json(answer)
    Console().print(f"{answer['replayed']} replayed")


@app.command()
def drop(service: Service, key: Key, yes: Yes = False, as_json: JsonOutput = False) -> None:
    """Delete the first dead letter of a key for good. The messages that wait behind it can be replayed then.

    The service never carries out what the message demands, and no sender sends the message again.
    """
    first, *waiting = _dead_letters(service, key)
    if first["key"] != key:
        raise CommandError(f"{key} is the id of a message: its key is {first['key']}")
    if not yes:
        typer.confirm(f"Drop {_name(first)} for good? It failed with {first['reason']}", abort=True, err=True)
    dropped = internal_gateway().call("POST", _path(service, key, "drop"), params={"id": first["id"]})
    if as_json:
        return print_json(dropped)
    typer.echo(f"dropped {_name(dropped)}: {dropped['body']}")
    if waiting:
        typer.echo(f"{len(waiting)} waited behind it; next: agora dead-letters replay {service} {key}")


def _dead_letters(service: str, which: str) -> Any:
    """The dead letters with this key or id, at least one, oldest first."""
    found = internal_gateway().call(
        "GET", f"/{require_service(service)}/internal/dead-letters", params={"about": which}
    )
    if not found:
        raise CommandError(f"{service} has no dead letter with the key or id {which}")
    return found


def _path(service: str, key: str, action: str) -> str:
    return f"/{require_service(service)}/internal/dead-letters/{quote(key)}/{action}"


def _name(message: Any) -> str:
    return f"{message['type'] or 'an unreadable message'} {message['id']}"


def _format_body(body: str) -> str:
    try:
        return "\n" + json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body
