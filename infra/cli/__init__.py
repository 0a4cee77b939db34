"""The command for operators. Each module here is one of its commands, or a group of them, and is found by being here.

A module has an `app`. One with a name (`typer.Typer(name="users")`) is a group of that name, else its one command is
named after the module. A module is imported when it is needed: `status` does not wait for what `demo` is made of.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from local.errors import CommandError


class CommandGroup(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            return None
        module: typer.Typer = import_module(f"cli.{cmd_name}").app
        group = get_group(module)
        return group if module.info.name else group.get_command(ctx, cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """CommandError ends any command with its one line and exit code 1."""
        try:
            return super().invoke(ctx)
        except CommandError as trouble:
            typer.secho(f"{ctx.info_name}: {trouble}", err=True, fg="red")
            raise typer.Exit(1) from trouble


app = typer.Typer(cls=CommandGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def commands() -> None:
    """Run the shop on this machine, and look after it."""
