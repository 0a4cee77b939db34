"""The unit of work: one transaction that loads and locks rows, finds what changed and writes it with its messages.

Rows are SQLModel tables used as plain objects. `lock` loads them in one statement, `get` and `loaded` find them again,
and at the end all inserts, updates, deletes and outbox rows leave in one statement (`unnest` of arrays). Only this
file commits.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeVar, cast, overload

import asyncpg
from sqlalchemy import Select
from sqlmodel.sql.expression import SelectOfScalar

from chassis.database.errors import TRANSIENT
from chassis.database.sql import Changes, WriteStatement, compile_select
from chassis.database.tables import Table, build_row, mapping_of, new_id
from chassis.message import Envelope, Message
from chassis.telemetry import tracing

T = TypeVar("T", bound=Table)
S = TypeVar("S")


class MessageTooLarge(Exception):
    """A message is over the limit of the broker. Raised before anything is written."""


MAX_MESSAGE_BYTES = 256 * 1024


class Causation(NamedTuple):
    """What made something happen: an envelope, or what a row remembers of one."""

    id: str
    correlation_id: str
    traceparent: str | None

    @classmethod
    def from_row(cls, row: Table) -> "Causation | None":
        """What the row remembers in its column `cause`, if it has one."""
        kept = getattr(row, "cause", None)
        return cls(**kept) if kept else None


class Connections(Protocol):
    """Where a unit of work gets its connection from."""

    service: str
    settings: Any

    async def acquire(self) -> "asyncpg.Connection[Any]": ...
    async def give_back(self, connection: "asyncpg.Connection[Any]") -> None: ...


class UnitOfWork:
    """One transaction. Handlers use `get`, `loaded`, `add`, `remove`, `send`; routes also `lock`, `fetch` and `one`."""

    def __init__(self, connections: Connections) -> None:
        self.cause: Envelope | Causation | None = None
        self.correlation_id: str | None = None
        self.before_begin: Callable[[], Awaitable[None]] | None = None
        self._connections = connections
        self._connection: asyncpg.Connection[Any] | None = None
        self._transaction: Any = None
        self._now: datetime | None = None
        self._rows: dict[type[Table], dict[tuple[Any, ...], Table]] = defaultdict(dict)
        self._loaded: dict[type[Table], dict[tuple[Any, ...], dict[str, Any]]] = defaultdict(dict)
        self.messages: list[Envelope] = []
        self.wakes: dict[str, str | None] = {}  # names of tasks, and the trace in which each was woken

    @property
    def settings(self) -> Any:
        """The settings of the service, as its subclass of Settings."""
        return self._connections.settings

    @property
    def now(self) -> datetime:
        """The database's time of this transaction. It is known once something was locked."""
        if self._now is None:
            raise RuntimeError("the transaction has not begun: lock a row or await begin() first")
        return self._now

    def get(self, table: type[T], *key: Any) -> T | None:
        """The row with this primary key among those locked or added in this work."""
        return cast(T | None, self._rows[table].get(key))

    def loaded(self, table: type[T], **equal: Any) -> list[T]:
        """The rows with these values among those locked or added in this work."""
        rows = cast(Iterable[T], self._rows[table].values())
        return [row for row in rows if all(getattr(row, name) == value for name, value in equal.items())]

    def add(self, row: T) -> T:
        self._rows[type(row)][mapping_of(type(row)).identity(row)] = row
        return row

    def remove(self, row: Table) -> None:
        del self._rows[type(row)][mapping_of(type(row)).identity(row)]

    def send(self, *messages: Message) -> None:
        """Let messages leave with the commit, in this order."""
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

    def wake(self, task: str) -> None:
        """Let a task of this service run soon after the commit. It may be lost: tasks also run by themselves."""
        self.wakes.setdefault(task, self._parent())

    def causation(self) -> dict[str, Any] | None:
        """What a row keeps in its column `cause` (JSONB), so that what is done about it later stays in the trace."""
        if (cause := self.cause) is not None:
            return Causation(str(cause.id), cause.correlation_id, self._parent())._asdict()
        id = self.correlation_id
        return None if id is None else Causation(id, id, self._parent())._asdict()

    def _parent(self) -> str | None:
        """The trace of what a row remembers goes before the running span, which happens to be about the row."""
        if isinstance(self.cause, Causation):
            return self.cause.traceparent
        return tracing.traceparent() or (self.cause.traceparent if self.cause else None)

    async def begin(self) -> "asyncpg.Connection[Any]":
        """Open the transaction, once. What is read before is not part of it."""
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

    async def lock(self, table: type[T], how: str = "FOR UPDATE", /, **values: Iterable[Any]) -> list[T]:
        """Load the rows whose one column has one of the values, in the order of their key; `how=""` only reads."""
        ((column, wanted),) = values.items()
        connection, it = await self.begin(), mapping_of(table)
        records = await connection.fetch(
            f'SELECT {it.listed} FROM {it.name} WHERE "{column}" = ANY($1::{it.types[column]}[])'
            f" ORDER BY {', '.join(it.key)} {how}",
            list(wanted),
        )
        found = []
        for record in records:
            row = build_row(table, dict(record))
            identity = it.identity(row)
            if identity not in self._rows[table] and identity not in self._loaded[table]:
                self._rows[table][identity] = row
                self._loaded[table][identity] = dict(record)
            if identity in self._rows[table]:  # it is not when it was removed in this work
                found.append(cast(T, self._rows[table][identity]))
        return found

    @overload
    async def fetch(self, statement: SelectOfScalar[S], **parameters: Any) -> list[S]: ...
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
    async def one(self, statement: SelectOfScalar[S], **parameters: Any) -> S | None: ...
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
        """Plain SQL inside the transaction, for what rows cannot say."""
        return list(await (await self.begin()).fetch(sql, *arguments))

    async def commit(self) -> None:
        writes = WriteStatement()
        for table in {**self._rows, **self._loaded}:
            writes.change(table, self.changes(table))
        writes.send(self.messages)
        if (statement := writes.statement()) is not None:
            text, arguments = statement  # without `begin`, it is a transaction of its own
            await (await self._connected()).execute(text, *arguments)
        if self._transaction is not None:
            await self._transaction.commit()
            self._transaction = None

    async def rollback(self) -> None:
        """Forget everything done so far; the unit of work can only read after this."""
        transaction, self._transaction = self._transaction, None
        for kept in (self._rows, self._loaded, self.messages, self.wakes):
            kept.clear()
        self.before_begin = None
        if transaction is not None:
            await transaction.rollback()

    async def release(self) -> None:
        """Give the connection back; what was not committed is undone."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                if self._transaction is not None and not connection.is_closed():
                    await self._transaction.rollback()
            except TRANSIENT:
                connection.terminate()
            finally:
                await self._connections.give_back(connection)

    def changes(self, table: type[Table]) -> Changes:
        rows, loaded = self._rows[table], self._loaded[table]
        values = mapping_of(table).values
        inserted = [row for identity, row in rows.items() if identity not in loaded]
        updated = [
            rows[identity] for identity, was in loaded.items() if identity in rows and values(rows[identity]) != was
        ]
        if any(mapping_of(table).identity(row) not in loaded for row in updated):
            raise ValueError(f"{table.__name__}: a row's key does not change; remove it and add another")
        return Changes(inserted, updated, [identity for identity in loaded if identity not in rows])
