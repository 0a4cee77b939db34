"""Which rows a message or a due row needs, and how they are locked for a whole batch at once."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from chassis.database.tables import Table
from chassis.database.unit_of_work import UnitOfWork
from chassis.message import Message


@dataclass(frozen=True)
class Rows:
    """The rows of a table whose column has one of the values that a message gives."""

    table: type[Table]
    column: str
    source: str | Callable[[Any, UnitOfWork], Iterable[Any]]  # a field of the message, or what makes values of it
    lock: bool = True

    def values(self, message: Message, work: UnitOfWork) -> Iterable[Any]:
        return [getattr(message, self.source)] if isinstance(self.source, str) else self.source(message, work)


def rows(table: type[Table], *, lock: bool = True, **by: str | Callable[[Any, UnitOfWork], Iterable[Any]]) -> Rows:
    """`rows(Order, id="order_id")`, or with a function of the message and the rows of the needs before.

    Without `lock` they are there to be read: many transactions may have them at once.
    """
    ((column, source),) = by.items()
    return Rows(table, column, source, lock)


async def load_rows(work: UnitOfWork, needs: Iterable[tuple[Any, Sequence[Rows]]]) -> None:
    """Lock what many messages need: a statement per table and stage, rows in the order of their key."""
    pairs = [(message, needed) for message, needed in needs if needed]
    for stage in range(max((len(needed) for _, needed in pairs), default=0)):
        wanted: dict[tuple[type[Table], str, bool], set[Any]] = {}
        for message, needed in pairs:
            if stage < len(needed):
                it = needed[stage]
                wanted.setdefault((it.table, it.column, it.lock), set()).update(it.values(message, work))
        for (table, column, lock), values in sorted(wanted.items(), key=lambda item: (item[0][0].__name__, item[0][1])):
            if values:
                await work.lock(table, "FOR UPDATE" if lock else "", **{column: values})
