"""Every SELECT of the aggregator, by name."""

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import NamedTuple
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import Integer, String, Uuid, func, literal_column, not_, tuple_
from sqlalchemy import select as select_columns
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlmodel import bindparam, col, select
from sqlmodel.sql.expression import SelectOfScalar

from aggregator.errors import ProductNotListed
from aggregator.models import Generation, GenerationState, OrderReadModel, ProductReadModel, Rebuild
from chassis.tables import Timestamptz
from chassis.work import UnitOfWork
from contracts.aggregator import DashboardEntry
from contracts.order import OrderStatus
from contracts.product import CategoryView

FIRST_PRODUCT = ("", UUID(int=0))  # before every product by name
NEWEST_ORDER = (UUID(int=2**128 - 1),)  # before every order from the newest on
_serving = select(Generation.id).where(Generation.state == GenerationState.ACTIVE).scalar_subquery()
_sold = (ProductReadModel.generation == _serving, not_(col(ProductReadModel.withdrawn)))
_product = select(ProductReadModel).where(ProductReadModel.id == bindparam("id"), *_sold)
_categories = (
    select(ProductReadModel.category, func.count())
    .where(*_sold)
    .group_by(ProductReadModel.category)
    .order_by(ProductReadModel.category)
)
_order = select(OrderReadModel).where(OrderReadModel.order_id == bindparam("id"), OrderReadModel.generation == _serving)
_orders = (
    select(OrderReadModel)
    .where(OrderReadModel.customer_id == bindparam("customer_id"), OrderReadModel.generation == _serving)
    .where(col(OrderReadModel.order_id) < bindparam("before", type_=Uuid))
    .order_by(col(OrderReadModel.order_id).desc())
    .limit(bindparam("count", type_=Integer))
)

# A day in one statement, since only that sees one moment: what each status adds up to, and a page of its orders.
_since, _until = bindparam("since", type_=Timestamptz), bindparam("until", type_=Timestamptz)
_of_day = (
    col(OrderReadModel.placed_at) >= _since,
    col(OrderReadModel.placed_at) < _until,
    col(OrderReadModel.generation) == _serving,
)
_place = tuple_(col(OrderReadModel.placed_at), col(OrderReadModel.order_id))
_folded = (
    select_columns(
        col(OrderReadModel.status),
        func.count().label("orders"),
        func.sum(OrderReadModel.version).label("versions"),
        func.sum(OrderReadModel.total_cents - OrderReadModel.refunded_cents).label("net_cents"),
    )
    .where(*_of_day)
    .group_by(col(OrderReadModel.status))
    .subquery("folded")
)
_entries = (
    select_columns(*(col(getattr(OrderReadModel, name)) for name in DashboardEntry.model_fields))
    .where(*_of_day, _place < tuple_(bindparam("moment", type_=Timestamptz), bindparam("id", type_=Uuid)))
    .order_by(col(OrderReadModel.placed_at).desc(), col(OrderReadModel.order_id).desc())
    .limit(bindparam("count", type_=Integer))
    .subquery("entries")
)
_newest = aggregate_order_by(_entries.table_valued(), _entries.c.placed_at.desc(), _entries.c.order_id.desc())
_day = select_columns(
    select_columns(func.jsonb_agg(_folded.table_valued())).scalar_subquery(),
    select_columns(func.jsonb_agg(_newest)).scalar_subquery(),
)
_newest_rebuild = select(Rebuild).order_by(col(Rebuild.generation).desc()).limit(1)


class DayTotals(NamedTuple):
    """What the orders of a day in one status add up to."""

    status: OrderStatus
    orders: int
    versions: int
    net_cents: int


_totals, _page = TypeAdapter(list[DayTotals]), TypeAdapter(list[DashboardEntry])


@cache
def _products_by_name(words: bool, category: bool) -> SelectOfScalar[ProductReadModel]:
    """A statement for each combination of filters, so that each finds its index."""
    place = tuple_(bindparam("name", type_=String), bindparam("id", type_=Uuid))
    statement = select(ProductReadModel).where(
        tuple_(col(ProductReadModel.name), col(ProductReadModel.id)) > place, *_sold
    )
    if words:
        text = col(ProductReadModel.name) + literal_column("' '") + col(ProductReadModel.description)
        vector = func.to_tsvector(literal_column("'simple'"), text)
        query = func.to_tsquery(literal_column("'simple'"), bindparam("words", type_=String))
        found = select(ProductReadModel.id).where(vector.bool_op("@@")(query)).cte("found").prefix_with("MATERIALIZED")
        statement = statement.where(col(ProductReadModel.id).in_(select(found.c.id)))
    if category:
        statement = statement.where(ProductReadModel.category == bindparam("category"))
    return statement.order_by(col(ProductReadModel.name), col(ProductReadModel.id)).limit(
        bindparam("count", type_=Integer)
    )


async def products_by_name(
    work: UnitOfWork, q: str | None, category: str | None, after: tuple[str, UUID], count: int
) -> list[ProductReadModel]:
    """By name. `q` are beginnings of words, all of which are in the name or the description."""
    words = " & ".join(f"{word}:*" for word in re.findall(r"\w+", q)) if q is not None else None
    statement = _products_by_name(words is not None, category is not None)
    name, id = after
    return await work.fetch(statement, words=words, category=category, name=name, id=id, count=count)


async def product_by_id(work: UnitOfWork, id: UUID) -> ProductReadModel:
    product = await work.one(_product, id=id)
    if product is None:
        raise ProductNotListed()
    return product


async def categories(work: UnitOfWork) -> list[CategoryView]:
    return [CategoryView(name=name, products=count) for name, count in await work.fetch(_categories)]


async def order_or_none(work: UnitOfWork, id: UUID) -> OrderReadModel | None:
    """None is an answer here: the order may have been placed a moment ago."""
    found: OrderReadModel | None = await work.one(_order, id=id)
    return found


async def orders_of_customer(work: UnitOfWork, customer_id: UUID, before: UUID, count: int) -> list[OrderReadModel]:
    return await work.fetch(_orders, customer_id=customer_id, before=before, count=count)


async def orders_of_day(
    work: UnitOfWork, day: date, before: tuple[datetime, UUID], count: int
) -> tuple[list[DayTotals], list[DashboardEntry]]:
    """Totals of all orders that were placed on a day, and the newest of them, as they were at one moment."""
    moment, id = before
    since, until = day_of(day)
    totals, entries = await work.one(_day, since=since, until=until, moment=moment, id=id, count=count)
    return _totals.validate_python(totals or []), _page.validate_python(entries or [])


def day_of(day: date) -> tuple[datetime, datetime]:
    """Its first moment and the first after it, in UTC."""
    since = datetime.combine(day, time(), UTC)
    return since, since + timedelta(days=1)


def delete_old_rows(table: str, key: str) -> str:
    """Removes rows of generations that are not there any more: those after $1 (from the first on: null), at most $2."""
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
