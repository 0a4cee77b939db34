"""Shows the state of the child processes: a live table while they start, then one line for each change."""

import time
from types import TracebackType
from typing import Literal, Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from local.state import ProcessStatus
from local.supervisor import ManagedProcess, memory_of

_STYLES = {
    "waiting": "dim",
    "preparing": "dim",
    "starting": "yellow",
    "ready": "green",
    "crashed": "red",
    "stopped": "dim",
}
_COLUMNS: dict[str, Literal["left", "right"]] = {
    "name": "left",
    "state": "left",
    "pid": "right",
    "port": "right",
    "restarts": "right",
    "memory": "right",
    "since": "right",
    "": "left",
}


class Display:
    """On a terminal a table until every process is ready; elsewhere, and afterwards, one line for each change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._children: list[ManagedProcess] = []
        self._printed: dict[str, tuple[str, str]] = {}
        self._live: Live | None = None

    def set_children(self, children: list[ManagedProcess]) -> None:
        self._children = children

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=1, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def show_change(self, child: ManagedProcess) -> None:
        status = child.status
        if self._live is None and self._printed.get(status.name) != (status.state, status.detail):
            self._printed[status.name] = (status.state, status.detail)
            self._console.print(_format_line(status), highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        children = [child.status for child in self._children]
        return process_table(children, [memory_of(status.pid) for status in children])


def process_table(children: list[ProcessStatus], memory: list[int]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, justify in _COLUMNS.items():
        table.add_column(column, justify=justify)
    for child, used in zip(children, memory, strict=True):
        state = f"[{_STYLES.get(child.state, '')}]{child.state}[/]"
        numbers = (str(child.pid or ""), str(child.port), str(child.restarts), format_megabytes(used))
        table.add_row(child.name, state, *numbers, _format_age(child.since), escape(child.detail[:80]))
    return table


def format_megabytes(size: int) -> str:
    return f"{size / 2**20:.0f} MB"


def _format_age(since: float) -> str:
    seconds = time.time() - since
    return "" if not since else f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _format_line(child: ProcessStatus) -> str:
    clock = time.strftime("%H:%M:%S")
    pid = f" (pid {child.pid})" if child.pid else ""
    detail = f": {escape(child.detail)}" if child.detail else ""
    again = f", restart {child.restarts}" if child.restarts and child.state == "ready" else ""
    return f"[dim]{clock}[/] {child.name} [{_STYLES[child.state]}]{child.state}[/]{pid}{again}{detail}"
