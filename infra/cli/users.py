"""`users`: who may do what, and with which key that is signed. Talks to the running system as one of its services."""

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from cli._system import internal
from contracts.user import Role

app = typer.Typer(
    name="users",
    help="Give roles to accounts and take them away; rotate the keys of their tokens.",
    no_args_is_help=True,
)

Mail = Annotated[str, typer.Argument(help="The mail address of an account.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command()
def grant(mail: Mail, role: Annotated[Role, typer.Argument()], as_json: Json = False) -> None:
    """Give a role. It is in the tokens issued from now on."""
    show(change("PUT", mail, role), as_json)


@app.command()
def revoke(mail: Mail, role: Annotated[Role, typer.Argument()], as_json: Json = False) -> None:
    """Take a role away. Tokens issued before keep it until they expire."""
    show(change("DELETE", mail, role), as_json)


@app.command("rotate-keys")
def rotate_keys(as_json: Json = False) -> None:
    """Publish a new signing key now. It signs when all must have seen it; the old one goes when its tokens are over."""
    key = internal().call("POST", "/user/signing-keys")
    if as_json:
        return Console().print_json(json.dumps(key))
    Console().print(f"{key['kid']} signs from {key['signs_from']}", soft_wrap=True)


def change(method: str, mail: str, role: str) -> Any:
    """The account afterwards."""
    return internal().call(method, f"/user/accounts/{quote(mail, safe='')}/roles/{role}")


def show(account: Any, as_json: bool) -> None:
    if as_json:
        Console().print_json(json.dumps(account))
    else:
        Console().print(f"{account['email']} is {', '.join(account['roles']) or 'nothing'}")
