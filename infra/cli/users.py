"""`users`: the roles of accounts, and the keys that sign their tokens."""

from typing import Annotated, Any

import typer
from rich.console import Console

from cli._options import JsonOutput, print_json
from cli._system import internal_gateway
from contracts.user import Role

app = typer.Typer(
    name="users", help="Grant and revoke roles of accounts; rotate the keys that sign tokens.", no_args_is_help=True
)

Mail = Annotated[str, typer.Argument(help="The mail address of an account.")]


@app.command()
def grant(mail: Mail, role: Annotated[Role, typer.Argument()], as_json: JsonOutput = False) -> None:
    """Grant a role. Tokens that are issued from now on have it."""
    _print_account(_change_role("role-grants", mail, role), as_json)


@app.command()
def revoke(mail: Mail, role: Annotated[Role, typer.Argument()], as_json: JsonOutput = False) -> None:
    """Revoke a role. Tokens that were issued before have it until they expire."""
    _print_account(_change_role("role-revocations", mail, role), as_json)


@app.command("rotate-keys")
def rotate_keys(as_json: JsonOutput = False) -> None:
    """Publish a new signing key now. It signs once all caches have it; the old key goes when its tokens expire."""
    key = internal_gateway().call("POST", "/user/signing-keys")
    if as_json:
        return print_json(key)
    Console().print(f"{key['kid']} signs from {key['signs_from']}", soft_wrap=True)


def _change_role(change: str, mail: str, role: str) -> Any:
    """The account after the change."""
    return internal_gateway().call("POST", f"/user/{change}", json={"email": mail, "role": role})


def _print_account(account: Any, as_json: bool) -> None:
    if as_json:
        print_json(account)
    else:
        Console().print(f"{account['email']}: {', '.join(account['roles']) or 'no roles'}")
