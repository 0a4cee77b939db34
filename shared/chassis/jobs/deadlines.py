"""Deadlines: which columns of moments a service declares, and what is done when one has passed."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from chassis.database.loading import Rows
from chassis.database.tables import Table


@dataclass(frozen=True)
class Deadline:
    """A column of moments and what is done with rows whose moment has passed."""

    table: type[Table]
    column: str
    handler: Callable[..., None]
    call: Callable[..., Awaitable[Any]] | None
    lease: timedelta
    needs: Sequence[Rows]


class Deadlines:
    """`due = Due()`, then `@due(Order.deadline)` over a plain function of row and work, which must move the moment on.

    With `call=` the row is first leased and committed, then `call(row, runtime)` is awaited outside any transaction,
    then the function gets row, outcome and work in a second one. A call that raises is made again after the lease.
    """

    def __init__(self) -> None:
        self.entries: list[Deadline] = []

    def __call__(
        self,
        column: Any,
        *,
        call: Callable[..., Awaitable[Any]] | None = None,
        lease_seconds: float = 30,
        needs: Rows | Sequence[Rows] = (),
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        def register(handler: Callable[..., None]) -> Callable[..., None]:
            needed = (needs,) if isinstance(needs, Rows) else needs
            lease = timedelta(seconds=lease_seconds)
            self.entries.append(Deadline(column.class_, column.key, handler, call, lease, needed))
            return handler

        return register
