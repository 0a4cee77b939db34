"""Which messages a service handles, and which rows each handler needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from chassis.brokers.port import StartPosition
from chassis.database.loading import Rows
from chassis.database.unit_of_work import UnitOfWork
from chassis.message import Message

M = TypeVar("M", bound=Message)
Handler = Callable[[M, UnitOfWork[Any]], None]


@dataclass(frozen=True)
class MessageHandler:
    """One type of message, its handler, and the rows to load for it."""

    type: type[Message]
    handler: Handler[Any]
    needs: Sequence[Rows]


class Subscriptions:
    """`on = Subscriptions()`, then `@on(StockReserved, needs=…)` over a plain function of message and work.

    `start` says where the service begins to read when it is new.
    """

    def __init__(self, start: StartPosition = StartPosition.BEGINNING) -> None:
        self.start = start
        self.by_type: dict[str, MessageHandler] = {}

    def __call__(self, *types: type[M], needs: Rows | Sequence[Rows] = ()) -> Callable[[Handler[M]], Handler[M]]:
        def subscribe(handler: Handler[M]) -> Handler[M]:
            for type_ in types:
                if type_.wire_type in self.by_type:
                    raise ValueError(f"{type_.__name__} has a handler already")
                needed = (needs,) if isinstance(needs, Rows) else needs
                self.by_type[type_.wire_type] = MessageHandler(type_, handler, needed)
            return handler

        return subscribe

    @property
    def topics(self) -> list[str]:
        return sorted({subscription.type.topic for subscription in self.by_type.values()})
