"""The rows of a unit of work: one object for each row, and what has become of it since it was loaded.

A row that no handler asked for is not in the database for all that is known here: `get` raises NotLoaded instead of
answering None, because a handler would insert the row a second time. Pattern: Fowler, *Identity Map*.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from chassis.database.sql import Changes
from chassis.database.tables import Table, build_row, mapping_of

T = TypeVar("T", bound=Table)
Key = tuple[Any, ...]


class NotLoaded(LookupError):
    """A handler looks for a row that it did not declare."""


class ReadOnlyRow(Exception):
    """A row was changed that was loaded without a lock."""


class IdentityMap:
    """Rows by table and primary key."""

    def __init__(self) -> None:
        self._rows: dict[type[Table], dict[Key, Table]] = defaultdict(dict)  # locked or added: these are written
        self._locked: dict[type[Table], dict[Key, dict[str, Any]]] = defaultdict(dict)  # their values in the database
        self._read: dict[type[Table], dict[Key, tuple[Table, dict[str, Any]]]] = defaultdict(dict)
        self._requested: dict[type[Table], dict[str, set[Any]]] = defaultdict(lambda: defaultdict(set))
        self._removed: set[tuple[type[Table], Key]] = set()

    def note_request(self, table: type[Table], column: str, values: Iterable[Any]) -> None:
        """Rows of the table were asked for, whether the database has them or not."""
        self._requested[table][column].update(values)

    def keep_locked(self, table: type[T], records: Sequence[Mapping[str, Any]]) -> list[T]:
        """The rows as objects, to be changed and removed. A row that was read before gets its newest values."""
        found = []
        for record in records:
            values = dict(record)
            key = mapping_of(table).key_of(values)
            if key not in self._locked[table] and key not in self._rows[table]:
                read, _ = self._read[table].pop(key, (None, {}))
                row = read or build_row(table, values)
                row.__dict__.update(values)
                self._rows[table][key], self._locked[table][key] = row, values.copy()
            if key in self._rows[table]:  # it is not when it was removed in this work
                found.append(cast(T, self._rows[table][key]))
        return found

    def keep_read(self, table: type[T], records: Sequence[Mapping[str, Any]]) -> list[T]:
        """The rows as objects, to be read."""
        found = []
        for record in records:
            values = dict(record)
            key = mapping_of(table).key_of(values)
            if key not in self._rows[table] and (table, key) not in self._removed:
                self._read[table].setdefault(key, (build_row(table, values), values.copy()))
            if (row := self._find(table, key)) is not None:
                found.append(row)
        return found

    def get(self, table: type[T], key: Key) -> T | None:
        row = self._find(table, key)
        if row is None and None not in key and not self._was_requested(table, key):  # no row has NULL in its key
            names = ", ".join(mapping_of(table).key)
            raise NotLoaded(
                f"{table.__name__} {key} was not loaded: declare needs=rows({table.__name__}, {names}=…),"
                f" or lock it with await work.lock({table.__name__}, {names}=[…])"
            )
        return row

    def loaded(self, table: type[T], equal: Mapping[str, Any]) -> list[T]:
        rows = [*self._rows[table].values(), *(row for row, _ in self._read[table].values())]
        if not rows and table not in self._requested:
            raise NotLoaded(f"no {table.__name__} was loaded: declare needs=rows({table.__name__}, …), or lock them")
        return [cast(T, row) for row in rows if all(getattr(row, name) == value for name, value in equal.items())]

    def add(self, row: T) -> T:
        self._rows[type(row)][mapping_of(type(row)).identity(row)] = row
        return row

    def remove(self, row: Table) -> None:
        table, key = type(row), mapping_of(type(row)).identity(row)
        if key in self._read[table]:
            raise ReadOnlyRow(f"{table.__name__} {key} was loaded without a lock and cannot be removed")
        del self._rows[table][key]
        self._removed.add((table, key))

    def _find(self, table: type[T], key: Key) -> T | None:
        row = self._rows[table].get(key)
        if row is None:
            row, _ = self._read[table].get(key, (None, {}))
        return cast(T | None, row)

    def _was_requested(self, table: type[Table], key: Key) -> bool:
        """A row asked for by another column than one of its key may be any row."""
        if (table, key) in self._removed:
            return True
        places = dict(zip(mapping_of(table).key, key, strict=True))
        return any(
            column not in places or places[column] in values for column, values in self._requested[table].items()
        )

    def tables(self) -> list[type[Table]]:
        """Those with rows that may have to be written."""
        return list({**self._rows, **self._locked, **self._read})

    def changes(self, table: type[Table]) -> Changes:
        rows, locked, mapping = self._rows[table], self._locked[table], mapping_of(table)
        inserted = [row for key, row in rows.items() if key not in locked]
        updated = [rows[key] for key, was in locked.items() if key in rows and mapping.values(rows[key]) != was]
        if any(mapping.identity(row) not in locked for row in updated):
            raise ValueError(f"{table.__name__}: a row's key does not change; remove it and add another")
        for key, (row, was) in self._read[table].items():
            if mapping.values(row) != was:
                raise ReadOnlyRow(f"{table.__name__} {key} was loaded without a lock: lock it before you change it")
        return Changes(inserted, updated, [key for key in locked if key not in rows])
