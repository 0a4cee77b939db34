"""`reset`: delete everything that a run has left in the checkout."""

import shutil

import typer
from rich.console import Console

from cli._options import Yes
from local import state
from local.errors import CommandError
from local.postgres import Postgres

app = typer.Typer()


@app.command()
def reset(yes: Yes = False) -> None:
    """Delete all data, secrets and logs of the stopped system."""
    if state.running_system():
        raise CommandError(state.already_running_message())
    folder = state.folder()
    if not folder.exists():
        return Console().print(f"there is nothing at {folder}")
    if not yes:
        typer.confirm(f"Delete all data and secrets at {folder} for good?", abort=True, err=True)
    with state.lock_folder():
        state.kill_leftover_processes()
        Postgres(folder / "postgres", 0).remove()
        shutil.rmtree(folder)
    Console().print(f"deleted {folder}")
