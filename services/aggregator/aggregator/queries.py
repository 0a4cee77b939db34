"""Every SELECT of the aggregator, by name."""

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import NamedTuple
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Integer, String, Uuid, func, literal_column, not_, tuple_
from sqlalchemy import select as select_columns
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlmodel import bindparam, col, select
from sqlmodel.sql.expression import SelectOfScalar

from aggregator.models import Generation, GenerationState, OrderReadModel, ProductReadModel, Rebuild
from chassis.database import Timestamptz, UnitOfWork
from contracts.aggregator import DashboardEntry
from contracts.order import OrderStatus
from contracts.product import CategoryView
from contracts.product_api import ProductNotFound

FIRST_PRODUCT = ("", UUID(int=0))  # comes before every product, by name
NEWEST_ORDER = (UUID(int=2**128 - 1),)  # comes before every order, from the newest on
_count = bindparam("count", type_=Integer)
_active = select(Generation.id).where(Generation.state == GenerationState.ACTIVE).scalar_subquery()

_name, _category = col(ProductReadModel.name), col(ProductReadModel.category)
_by_name = (_name, col(ProductReadModel.id))
_SIMPLE: ColumnElement[str] = literal_column("'simple'")  # the text search configuration of the index
_listed = (ProductReadModel.generation == _active, not_(col(ProductReadModel.withdrawn)))
_product = select(ProductReadModel).where(ProductReadModel.id == bindparam("id"), *_listed)
_categories = select(_category, func.count()).where(*_listed).group_by(_category).order_by(_category)

_order_id, _placed_at, _status = (col(getattr(OrderReadModel, name)) for name in ("order_id", "placed_at", "status"))
_order = select(OrderReadModel).where(_order_id == bindparam("id"), OrderReadModel.generation == _active)
_orders = (
    select(OrderReadModel)
    .where(OrderReadModel.customer_id == bindparam("customer_id"), OrderReadModel.generation == _active)
    .where(_order_id < bindparam("before", type_=Uuid))
    .order_by(_order_id.desc())
    .limit(_count)
)

# One statement for a day, because one statement sees one moment: the totals of each status, and a page of orders.
_since, _until = bindparam("since", type_=Timestamptz), bindparam("until", type_=Timestamptz)
_of_day = (_placed_at >= _since, _placed_at < _until, col(OrderReadModel.generation) == _active)
_folded = (
    select_columns(
        _status,
        func.count().label("orders"),
        func.sum(OrderReadModel.version).label("versions"),
        func.sum(OrderReadModel.total_cents - OrderReadModel.refunded_cents).label("net_cents"),
    )
    .where(*_of_day)
    .group_by(_status)
    .subquery("folded")
)
_before = tuple_(bindparam("moment", type_=Timestamptz), bindparam("id", type_=Uuid))
_entries = (
    select_columns(*(col(getattr(OrderReadModel, name)) for name in DashboardEntry.model_fields))
    .where(*_of_day, tuple_(_placed_at, _order_id) < _before)
    .order_by(_placed_at.desc(), _order_id.desc())
    .limit(_count)
    .subquery("entries")
)
_newest = aggregate_order_by(_entries.table_valued(), _entries.c.placed_at.desc(), _entries.c.order_id.desc())
_day = select_columns(
    select_columns(func.jsonb_agg(_folded.table_valued())).scalar_subquery(),
    select_columns(func.jsonb_agg(_newest)).scalar_subquery(),
)
_newest_rebuild = select(Rebuild).order_by(col(Rebuild.generation).desc()).limit(1)


class DayTotals(NamedTuple):
    """The sums over the orders of a day that are in one status."""

    status: OrderStatus
    orders: int
    versions: int
    net_cents: int


_totals, _page = TypeAdapter(list[DayTotals]), TypeAdapter(list[DashboardEntry])


@cache
def _products_by_name(words: bool, category: bool) -> SelectOfScalar[ProductReadModel]:
    """One statement for each combination of filters, so that each is planned with its index."""
    after = tuple_(bindparam("name", type_=String), bindparam("id", type_=Uuid))
    statement = select(ProductReadModel).where(tuple_(*_by_name) > after, *_listed)
    if words:
        vector = func.to_tsvector(_SIMPLE, _name + literal_column("' '") + col(ProductReadModel.description))
        query = func.to_tsquery(_SIMPLE, bindparam("words", type_=String))
        found = select(ProductReadModel.id).where(vector.bool_op("@@")(query)).cte("found").prefix_with("MATERIALIZED")
        statement = statement.where(col(ProductReadModel.id).in_(select(found.c.id)))
    if category:
        statement = statement.where(_category == bindparam("category"))
    return statement.order_by(*_by_name).limit(_count)


async def products_by_name(
    work: UnitOfWork, q: str, category: str, after: tuple[str, UUID], count: int
) -> list[ProductReadModel]:
    """Products by name. `q` has beginnings of words, which all have to occur; without a word nothing is filtered."""
    words = " & ".join(f"{word}:*" for word in re.findall(r"\w+", q))
    statement = _products_by_name(bool(words), bool(category))
    name, id = after
    return await work.fetch(statement, words=words, category=category, name=name, id=id, count=count)


async def product_by_id(work: UnitOfWork, id: UUID) -> ProductReadModel:
    product = await work.one(_product, id=id)
    if product is None:
        raise ProductNotFound()
    return product


async def categories(work: UnitOfWork) -> list[CategoryView]:
    return [CategoryView(name=name, products=count) for name, count in await work.fetch(_categories)]


async def order_or_none(work: UnitOfWork, id: UUID) -> OrderReadModel | None:
    """None is no error: the order may have been placed a moment ago."""
    found: OrderReadModel | None = await work.one(_order, id=id)
    return found


async def orders_of_customer(work: UnitOfWork, customer_id: UUID, before: UUID, count: int) -> list[OrderReadModel]:
    return await work.fetch(_orders, customer_id=customer_id, before=before, count=count)


async def orders_of_day(
    work: UnitOfWork, day: date, before: tuple[datetime, UUID], count: int
) -> tuple[list[DayTotals], list[DashboardEntry]]:
    """Totals of all orders that were placed on a day, and a page of those orders, both at one moment."""
    moment, id = before
    since, until = day_of(day)
    totals, entries = await work.one(_day, since=since, until=until, moment=moment, id=id, count=count)
    return _totals.validate_python(totals or []), _page.validate_python(entries or [])


def day_of(day: date) -> tuple[datetime, datetime]:
    """The first moment of the day and the first moment after it, in UTC."""
    since = datetime.combine(day, time(), UTC)
    return since, since + timedelta(days=1)


def delete_old_rows(table: str, key: str) -> str:
    """SQL that deletes rows of generations that no longer exist: from the key $1 on (null: the first), at most $2."""
    return f"""
        WITH old AS (
            SELECT {key}, generation FROM {table}
            WHERE {key} >= coalesce($1::text::uuid, '00000000-0000-0000-0000-000000000000')
            AND generation NOT IN (SELECT id FROM generations) ORDER BY {key} LIMIT $2
        )
        DELETE FROM {table} t USING old WHERE t.{key} = old.{key} AND t.generation = old.generation RETURNING t.{key}
    """


async def newest_rebuild(work: UnitOfWork) -> Rebuild | None:
    found: Rebuild | None = await work.one(_newest_rebuild)
    return found
