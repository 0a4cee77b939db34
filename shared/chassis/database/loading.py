"""Which rows a message or a due row needs, and how they are locked for a whole batch at once (eager loading).

Tables and rows are locked in one order everywhere. This lock order avoids most deadlocks.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from chassis.database.tables import Table
from chassis.database.unit_of_work import UnitOfWork

Source = str | Callable[[Any, UnitOfWork[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Rows:
    """The rows of a table whose column has one of the values that a message gives."""

    table: type[Table]
    column: str
    source: Source  # a field of the message, or a function of the message and the work that returns the values
    lock: bool = True

    def values(self, message: Any, work: UnitOfWork[Any]) -> Iterable[Any]:
        return [getattr(message, self.source)] if isinstance(self.source, str) else self.source(message, work)


def rows(table: type[Table], *, lock: bool = True, **by: Source) -> Rows:
    """`rows(Order, id="order_id")`: the orders whose `id` is the message's `order_id`, locked.

    Instead of a field's name, a function of the message and the work may return the values; the function sees the rows
    of the needs before. Rows without `lock` can only be read, and many transactions may have them at once.
    """
    ((column, source),) = by.items()
    return Rows(table, column, source, lock)


async def load_rows(work: UnitOfWork[Any], needs: Iterable[tuple[Any, Sequence[Rows]]]) -> None:
    """Load what many messages need: one statement for each table and stage, rows in the order of their key.

    All transactions lock in this order (tables by name, rows by key), so that they seldom deadlock.
    """
    pairs = [(message, needed) for message, needed in needs if needed]
    for stage in range(max((len(needed) for _, needed in pairs), default=0)):
        wanted: dict[tuple[type[Table], str, bool], set[Any]] = {}
        for message, needed in pairs:
            if stage < len(needed):
                it = needed[stage]
                wanted.setdefault((it.table, it.column, it.lock), set()).update(it.values(message, work))
        for (table, column, lock), values in sorted(wanted.items(), key=lambda item: (item[0][0].__name__, item[0][1])):
            if not values:
                work.rows.note_request(table, column, ())
            elif lock:
                await work.lock(table, **{column: values})
            else:
                await work.load(table, **{column: values})
