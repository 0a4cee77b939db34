"""The statements of a unit of work: SELECTs that are compiled once, and one statement that writes all changes."""

import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Select
from sqlmodel.sql.expression import SelectOfScalar

from chassis.database.tables import DIALECT, Json, Table, mapping_of
from chassis.message import Envelope

SHARDS = 16  # a constant of the schema: outbox rows carry their shard


def shard_of(key: str) -> int:
    """Messages of one key are in one shard, and one relay at a time owns the shard."""
    return zlib.crc32(key.encode()) % SHARDS


OUTBOX_COLUMNS = {
    "shard": "SMALLINT",
    "topic": "TEXT",
    "key": "TEXT",
    "id": "UUID",
    "type": "TEXT",
    "source": "TEXT",
    "time": "TIMESTAMPTZ",
    "body": "BYTEA",
    "correlation_id": "TEXT",
    "causation_id": "TEXT",
    "traceparent": "TEXT",
}


def _outbox_value(envelope: Envelope, column: str) -> Any:
    return shard_of(envelope.key) if column == "shard" else getattr(envelope, column)


class Changes(NamedTuple):
    """The rows of a table to insert, to update and to delete."""

    inserted: Sequence[Table]
    updated: Sequence[Table]
    deleted: Sequence[tuple[Any, ...]]  # keys


@lru_cache(maxsize=500)
def compile_select(
    statement: Select[*tuple[Any, ...]] | SelectOfScalar[Any],
) -> tuple[str, list[str], dict[str, Any], Any]:
    """SQL text, names of its parameters in order, their defaults, and the table that a row is (None: plain values)."""
    text = statement.compile(dialect=DIALECT)
    described = statement.column_descriptions
    entity = described[0]["expr"] if len(described) == 1 else None
    is_table = isinstance(entity, type) and issubclass(entity, Table)
    return text.string, list(text.positiontup or []), dict(text.params), entity if is_table else None


class WriteStatement:
    """Data-modifying CTEs over `unnest` of arrays: the cost of a statement is paid once for all rows of a batch."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._arguments: list[Any] = []

    def change(self, table: type[Table], changes: Changes) -> None:
        it = mapping_of(table)
        types = [it.types[column] for column in it.columns]
        if changes.inserted:
            source = self._unnest(types, _columns(changes.inserted, it.columns))
            self._parts.append(f"INSERT INTO {it.name} ({it.listed}) SELECT * FROM {source}")
        if changes.updated:
            source = self._unnest(types, _columns(changes.updated, it.columns))
            assigned = ", ".join(f'"{column}" = it."{column}"' for column in it.columns if column not in it.key)
            update = f"UPDATE {it.name} t SET {assigned} FROM {source} it ({it.listed}) WHERE {_same(it.key)}"
            self._parts.append(update)
        if changes.deleted:
            keys = map(list, zip(*changes.deleted, strict=True))
            source = self._unnest([it.types[column] for column in it.key], keys)
            delete = f"DELETE FROM {it.name} t USING {source} it ({', '.join(it.key)}) WHERE {_same(it.key)}"
            self._parts.append(delete)

    def send(self, messages: Sequence[Envelope]) -> None:
        if messages:
            source = self._unnest(
                OUTBOX_COLUMNS.values(), [[_outbox_value(m, column) for m in messages] for column in OUTBOX_COLUMNS]
            )
            columns = ", ".join(OUTBOX_COLUMNS)
            self._parts.append(
                f"INSERT INTO outbox ({columns}) SELECT {columns} FROM {source}"
                f" WITH ORDINALITY it ({columns}, position) ORDER BY position"
            )

    def statement(self) -> tuple[str, list[Any]] | None:
        """The text and its arguments; None if there is nothing to write."""
        if not self._parts:
            return None
        *first, last = self._parts
        named = ", ".join(f"w{number} AS ({part})" for number, part in enumerate(first))
        return (f"WITH {named} {last}" if first else last), self._arguments

    def _unnest(self, types: Iterable[str], columns: Iterable[list[Any]]) -> str:
        arrays = []
        for type_, column in zip(types, columns, strict=True):
            self._arguments.append(list(map(Json.of, column)) if type_ == "JSONB" else column)
            arrays.append(f"${len(self._arguments)}::{type_}[]")
        return f"unnest({', '.join(arrays)})"


def _columns(rows: Sequence[Table], columns: Iterable[str]) -> list[list[Any]]:
    return [[row.__dict__[column] for row in rows] for column in columns]


def _same(key: list[str]) -> str:
    return " AND ".join(f't."{column}" = it."{column}"' for column in key)
