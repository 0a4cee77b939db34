"""Tables as SQLModel classes, rows as plain objects, and the table mapping for statements (*Data Mapper*)."""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self, TypeVar, cast
from uuid import UUID

import uuid_utils.compat
from sqlalchemy import DateTime, MetaData
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.orm import class_mapper, registry
from sqlmodel import SQLModel

T = TypeVar("T", bound="Table")


def new_id() -> UUID:
    """A UUIDv7: unique, and ordered by time, so that indexes grow at one end. RFC 9562."""
    return uuid_utils.compat.uuid7()


class Timestamptz(DateTime):
    """A column type for moments: `Field(sa_type=Timestamptz)`. Values are aware and come back in UTC."""

    def __init__(self, timezone: bool = True) -> None:
        super().__init__(timezone=timezone)


@cache
def registry_of(package: str) -> registry:
    """The tables of one package. Two services of one process may both have a table `products`."""
    return registry()


class Table(SQLModel):
    """A row: `class Order(Table, table=True)`. The table belongs to the registry of its package."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if Table in cls.__bases__:
            own = registry_of(cls.__module__.partition(".")[0])
            cls._sa_registry, cls.metadata = own, own.metadata

    @classmethod
    def new(cls, **values: Any) -> Self:
        """A new row with its defaults, without validation: input was validated at the entrance."""
        unknown = values.keys() - cls.model_fields.keys()
        missing = [name for name, field in cls.model_fields.items() if field.is_required() and name not in values]
        if unknown or missing:
            raise TypeError(f"{cls.__name__}: unknown columns {sorted(unknown)}, missing columns {missing}")
        for name, field in cls.model_fields.items():
            if name not in values:
                values[name] = field.get_default(call_default_factory=True, validated_data={})
        return build_row(cls, values)


def build_row(table: type[T], values: dict[str, Any]) -> T:
    """An instance as a mapper makes it when it loads a row: no `__init__`, ten times cheaper."""
    row = cast(T, mapping_of(table).make())
    row.__dict__.update(values)
    object.__setattr__(row, "__pydantic_fields_set__", set(values))
    object.__setattr__(row, "__pydantic_extra__", None)
    object.__setattr__(row, "__pydantic_private__", None)
    return row


DIALECT = asyncpg_dialect()  # type: ignore[no-untyped-call]


class TableMapping:
    """The columns of a table, as the statements here need them."""

    def __init__(self, table: type[Table]) -> None:
        mapper = class_mapper(table)  # configures all mappers of the registry: before that, rows have no columns
        mapped: Any = mapper.local_table
        self.make = mapper.class_manager.new_instance
        self.name = f'"{mapped.name}"'
        self.columns = [column.name for column in mapped.columns]
        self.types = {column.name: column.type.compile(dialect=DIALECT) for column in mapped.columns}
        self.key = [column.name for column in mapped.primary_key.columns]
        self.listed = ", ".join(f'"{column}"' for column in self.columns)

    def identity(self, row: Table) -> tuple[Any, ...]:
        return tuple(row.__dict__[column] for column in self.key)

    def key_of(self, values: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(values[column] for column in self.key)

    def values(self, row: Table) -> dict[str, Any]:
        return {column: row.__dict__[column] for column in self.columns}


@dataclass(frozen=True, slots=True)
class Json:
    """A JSON value inside an array of them: asyncpg would take a bare list for one more dimension."""

    value: Any

    @classmethod
    def of(cls, value: Any) -> "Json | None":
        return None if value is None else cls(value)


@dataclass(frozen=True)
class Schema:
    """The tables that a service declares, and the folder of the migrations that make them."""

    metadata: MetaData
    migrations: Path

    @classmethod
    def of(cls, package: str) -> "Schema":
        """Of a package: its tables, and the folder `migrations` beside it."""
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        return cls(registry_of(package).metadata, Path(spec.origin).parent.parent / "migrations")


@cache
def mapping_of(table: type[Table]) -> TableMapping:
    return TableMapping(table)
