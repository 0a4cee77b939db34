"""`reset`: back to a checkout in which nothing has run."""

import shutil

import typer
from rich.console import Console

from local import state
from local.errors import CommandError
from local.postgres import Postgres

app = typer.Typer()


@app.command()
def reset() -> None:
    """Delete all data and secrets of the stopped system."""
    if state.running():
        raise CommandError(state.already_running())
    folder = state.folder()
    if not folder.exists():
        return Console().print(f"there is nothing at {folder}")
    with state.claim():
        state.end_leftovers()
        Postgres(folder / "postgres", 0).remove()
        shutil.rmtree(folder)
    Console().print(f"deleted {folder}")
