"""The unit of work: one transaction that loads and locks rows, finds what changed, and writes it with its messages.

Rows are SQLModel tables used as plain objects. `lock` (pessimistic locking) loads them in one statement, `get` and
`loaded` find them again, and at the end all inserts, updates, deletes and outbox rows leave in one statement (`unnest`
of arrays). Only this module commits. Pattern: Fowler, Patterns of Enterprise Application Architecture, *Unit of Work*
and *Identity Map*.
"""

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, Generic, NamedTuple, Protocol, overload

import asyncpg
from sqlalchemy import Select
from sqlmodel.sql.expression import SelectOfScalar
from typing_extensions import TypeVar

from chassis.config import Settings
from chassis.database.errors import TRANSIENT
from chassis.database.identity_map import IdentityMap
from chassis.database.sql import WriteStatement, compile_select
from chassis.database.tables import Table, build_row, mapping_of, new_id
from chassis.message import MAX_MESSAGE_BYTES, Envelope, Message, MessageTooLarge
from chassis.telemetry import tracing

T = TypeVar("T", bound=Table)
V = TypeVar("V")
S = TypeVar("S", bound=Settings, default=Settings, covariant=True)
Task = Callable[[Any], Awaitable[None]]


class Causation(NamedTuple):
    """What made something happen: an envelope, or what a row remembers of one. Term: *Correlation Identifier*."""

    id: str
    correlation_id: str
    traceparent: str | None

    @classmethod
    def from_row(cls, row: Table) -> "Causation | None":
        """What the row remembers in its column `causation`, if it has one."""
        kept = getattr(row, "causation", None)
        return cls(**kept) if kept else None


class Connections(Protocol[S]):
    """Where a unit of work gets its connection from."""

    service: str

    @property
    def settings(self) -> S: ...

    async def acquire(self) -> "asyncpg.Connection[Any]": ...
    async def release(self, connection: "asyncpg.Connection[Any]") -> None: ...


class UnitOfWork(Generic[S]):
    """One transaction. Handlers use `get`, `loaded`, `add`, `remove`, `send` and `wake`; routes also lock and read.

    `UnitOfWork[OrderSettings]` says whose settings `work.settings` are.
    """

    def __init__(self, connections: Connections[S]) -> None:
        self.cause: Envelope | Causation | None = None
        self.correlation_id: str | None = None
        self.before_begin: Callable[[], Awaitable[None]] | None = None
        self.rows = IdentityMap()
        self.messages: list[Envelope] = []
        self.wakes: dict[Task, str | None] = {}  # tasks, each with the trace in which it was woken
        self._connections = connections
        self._connection: asyncpg.Connection[Any] | None = None
        self._transaction: Any = None
        self._now: datetime | None = None

    @property
    def settings(self) -> S:
        """The settings of the service."""
        return self._connections.settings

    @property
    def now(self) -> datetime:
        """The database's time at which this transaction began. It is known once the transaction has begun."""
        if self._now is None:
            raise RuntimeError("the transaction has not begun: lock a row or await begin() first")
        return self._now

    def get(self, table: type[T], *key: Any) -> T | None:
        """The row with this primary key; None if there is none. Raises NotLoaded if no handler declared it."""
        return self.rows.get(table, key)

    def loaded(self, table: type[T], **equal: Any) -> list[T]:
        """The rows with these values among those loaded or added. Raises NotLoaded if none was asked for."""
        return self.rows.loaded(table, equal)

    def add(self, row: T) -> T:
        """Insert the row with the commit."""
        return self.rows.add(row)

    def remove(self, row: Table) -> None:
        """Delete the row with the commit. The row was locked or added before."""
        self.rows.remove(row)

    def send(self, *messages: Message) -> None:
        """Let messages leave with the commit, in this order. Raises MessageTooLarge."""
        for message in messages:
            body = message.model_dump_json().encode()
            if len(body) > MAX_MESSAGE_BYTES:
                raise MessageTooLarge(f"{message.wire_type} {message.key}: {len(body)} of {MAX_MESSAGE_BYTES} bytes")
            id, cause = new_id(), self.cause
            self.messages.append(
                Envelope(
                    topic=message.topic,
                    key=message.key,
                    id=id,
                    type=message.wire_type,
                    source=self._connections.service,
                    time=self.now,
                    body=body,
                    correlation_id=cause.correlation_id if cause else self.correlation_id or str(id),
                    causation_id=str(cause.id) if cause else None,
                    traceparent=self._parent(),
                )
            )

    def wake(self, task: Task) -> None:
        """Run a task of this service soon after the commit. A wake-up may be lost: tasks also run by themselves."""
        self.wakes.setdefault(task, self._parent())

    def causation(self) -> dict[str, Any] | None:
        """What a row keeps in its column `causation` (JSONB), so that later work on the row stays in the trace."""
        if (cause := self.cause) is not None:
            return Causation(str(cause.id), cause.correlation_id, self._parent())._asdict()
        id = self.correlation_id
        return None if id is None else Causation(id, id, self._parent())._asdict()

    def _parent(self) -> str | None:
        """A row remembers the trace that it belongs to; that trace is the parent rather than the span that runs now."""
        if isinstance(self.cause, Causation):
            return self.cause.traceparent
        return tracing.traceparent() or (self.cause.traceparent if self.cause else None)

    async def begin(self) -> "asyncpg.Connection[Any]":
        """Open the transaction, once. Reads before it are not part of it."""
        if self._transaction is None:
            connection = await self._connected()
            self._transaction = connection.transaction()
            await self._transaction.start()
            self._now = await connection.fetchval("SELECT now()")
            if self.before_begin is not None:
                await self.before_begin()
        return await self._connected()

    async def _connected(self) -> "asyncpg.Connection[Any]":
        if self._connection is None:
            self._connection = await self._connections.acquire()
        return self._connection

    async def lock(self, table: type[T], **values: Iterable[Any]) -> list[T]:
        """Load and lock the rows whose one column has one of the values, in the order of their key."""
        records = await self._select(table, "FOR UPDATE", values)
        return self.rows.keep_locked(table, records)

    async def lock_one(self, table: type[T], or_raise: type[Exception], **value: Any) -> T:
        """Load and lock the row whose column has this value, or raise."""
        ((column, wanted),) = value.items()
        for row in await self.lock(table, **{column: [wanted]}):
            return row
        raise or_raise()

    async def load(self, table: type[T], **values: Iterable[Any]) -> list[T]:
        """Load rows to be read: many transactions may have them at once. A change to one raises ReadOnlyRow."""
        return self.rows.keep_read(table, await self._select(table, "", values))

    async def _select(self, table: type[Table], lock: str, values: dict[str, Iterable[Any]]) -> list[Any]:
        ((column, wanted),) = ((column, list(wanted)) for column, wanted in values.items())
        self.rows.note_request(table, column, wanted)
        connection, it = await self.begin(), mapping_of(table)
        return await connection.fetch(
            f'SELECT {it.listed} FROM {it.name} WHERE "{column}" = ANY($1::{it.types[column]}[])'
            f" ORDER BY {', '.join(it.key)} {lock}",
            wanted,
        )

    @overload
    async def fetch(self, statement: SelectOfScalar[V], **parameters: Any) -> list[V]: ...
    @overload
    async def fetch(self, statement: Select[*tuple[Any, ...]], **parameters: Any) -> list[Any]: ...
    async def fetch(self, statement: Any, **parameters: Any) -> list[Any]:
        """Read without a lock. Changes to rows read this way are not written."""
        text, names, defaults, table = compile_select(statement)
        connection = await self._connected()
        records = await connection.fetch(text, *[parameters.get(name, defaults.get(name)) for name in names])
        if table is not None:
            return [build_row(table, dict(record)) for record in records]
        return [record[0] for record in records] if isinstance(statement, SelectOfScalar) else list(records)

    @overload
    async def one(self, statement: SelectOfScalar[V], **parameters: Any) -> V | None: ...
    @overload
    async def one(self, statement: Select[*tuple[Any, ...]], **parameters: Any) -> Any: ...
    async def one(self, statement: Any, **parameters: Any) -> Any:
        """The first row of `fetch`, or None."""
        found = await self.fetch(statement, **parameters)
        return found[0] if found else None

    async def read(self, sql: str, *arguments: Any) -> list[Any]:
        """Plain SQL that only reads, inside the transaction if it has begun."""
        return list(await (await self._connected()).fetch(sql, *arguments))

    async def execute(self, sql: str, *arguments: Any) -> list[Any]:
        """Plain SQL inside the transaction, for statements that rows cannot express."""
        return list(await (await self.begin()).fetch(sql, *arguments))

    async def commit(self) -> None:
        writes = WriteStatement()
        for table in self.rows.tables():
            writes.change(table, self.rows.changes(table))
        writes.send(self.messages)
        if (statement := writes.statement()) is not None:
            text, arguments = statement  # without `begin` the statement is a transaction of its own
            await (await self._connected()).execute(text, *arguments)
        if self._transaction is not None:
            await self._transaction.commit()
            self._transaction = None

    async def rollback(self) -> None:
        """Forget everything done so far. The unit of work can only read after this."""
        transaction, self._transaction = self._transaction, None
        self.rows = IdentityMap()
        self.messages.clear()
        self.wakes.clear()
        self.before_begin = None
        if transaction is not None:
            await transaction.rollback()

    async def release(self) -> None:
        """Return the connection to the pool. What was not committed is rolled back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                if self._transaction is not None and not connection.is_closed():
                    await self._transaction.rollback()
            except TRANSIENT:
                connection.terminate()
            finally:
                await self._connections.release(connection)
