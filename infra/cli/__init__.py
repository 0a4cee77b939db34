"""`agora`, the command for operators. Each public module here is one command or one group of commands.

A module has a Typer `app`. An app with a name (`typer.Typer(name="users")`) is a group of that name; any other is one
command, named after its module. A module is imported when it is needed: `status` does not wait for what `demo` imports.
"""

from importlib import import_module
from importlib.metadata import version
from pkgutil import iter_modules
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from local import NAME
from local.errors import CommandError


class CommandGroup(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        names = (module.name for module in iter_modules(__path__))
        return sorted(name.replace("_", "-") for name in names if not name.startswith("_"))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            return None
        module: typer.Typer = import_module(f"cli.{cmd_name.replace('-', '_')}").app
        group = get_group(module)
        return group if module.info.name else group.get_command(ctx, cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """A CommandError ends every command with one line and exit code 1."""
        try:
            return super().invoke(ctx)
        except CommandError as error:
            typer.secho(f"{ctx.info_name}: {error}", err=True, fg="red")
            raise typer.Exit(1) from error


app = typer.Typer(cls=CommandGroup, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{NAME} {version('infra')}")
        raise typer.Exit()


@app.callback()
def agora(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run the shop on this machine, and operate it."""
