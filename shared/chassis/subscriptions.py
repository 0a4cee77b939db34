"""Which messages a service handles, and which rows each handler needs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from chassis.messaging.broker import Start
from chassis.messaging.message import Message
from chassis.tables import Table
from chassis.work import UnitOfWork

M = TypeVar("M", bound=Message)
Handler = Callable[[M, UnitOfWork], None]


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


async def load(work: UnitOfWork, needs: Iterable[tuple[Any, Sequence[Rows]]]) -> None:
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


@dataclass(frozen=True)
class Subscription:
    """One type of message, its handler, and what is to be loaded for it."""

    type: type[Message]
    handler: Handler[Any]
    needs: Sequence[Rows]


class Subscriptions:
    """`on = Subscriptions()`, then `@on(StockReserved, needs=…)` over a plain function of message and work."""

    def __init__(self, start: Start = Start.BEGINNING) -> None:
        """`start`: where the service begins to read when it is new."""
        self.start = start
        self.by_type: dict[str, Subscription] = {}

    def __call__(self, *types: type[M], needs: Rows | Sequence[Rows] = ()) -> Callable[[Handler[M]], Handler[M]]:
        def subscribe(handler: Handler[M]) -> Handler[M]:
            for type_ in types:
                if type_.wire_type in self.by_type:
                    raise ValueError(f"{type_.__name__} has a handler already")
                needed = (needs,) if isinstance(needs, Rows) else needs
                self.by_type[type_.wire_type] = Subscription(type_, handler, needed)
            return handler

        return subscribe

    @property
    def topics(self) -> list[str]:
        return sorted({subscription.type.topic for subscription in self.by_type.values()})
