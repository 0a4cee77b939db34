"""The command for operators. Each module here is a group of commands: it has an `app`, and is found by being here."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import typer
from typer.core import TyperGroup

from local.trouble import Trouble


class Commands(TyperGroup):
    """Trouble ends any command with its one line and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Trouble as trouble:
            typer.secho(f"{ctx.info_name}: {trouble}", err=True, fg="red")
            raise typer.Exit(1) from trouble


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for module in sorted(found.name for found in iter_modules(__path__) if not found.name.startswith("_")):
    group: typer.Typer = import_module(f"cli.{module}").app
    app.add_typer(group)  # with a name its commands stand below that name, without one at the top
