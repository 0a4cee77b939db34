"""Deadlines: which columns of moments a service declares, and what is done when a moment has passed."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from chassis.database.loading import Rows
from chassis.database.tables import Table


@dataclass(frozen=True)
class Deadline:
    """A column of moments, and what is done with rows whose moment has passed."""

    table: type[Table]
    column: str
    handler: Callable[..., None]
    call: Callable[..., Awaitable[Any]] | None
    lease: timedelta
    needs: Sequence[Rows]


class Deadlines:
    """`deadlines = Deadlines()`, then `@deadlines(Order.deadline)` over a function of the row and the work.

    The function must move the moment on or set it to None. With `call=` the outside world is called under a lease: the
    row's moment is moved on by `lease_seconds` and committed, then `call(row, runtime)` is awaited outside of any
    transaction, then the function gets row, outcome and work in a second transaction. A call that raises is repeated
    after the lease. Term: Gray and Cheriton, *Leases* (1989).
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
