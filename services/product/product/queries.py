"""Every SELECT of the product service, by name."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Integer, Select, String, Uuid, any_, cast, func, literal_column, tuple_
from sqlmodel import bindparam, col, select
from sqlmodel.sql.expression import SelectOfScalar

from chassis.work import UnitOfWork
from contracts.product import CategoryView, StockTotals
from product.errors import ProductNotFound
from product.models import Product, Stock

FIRST = ("", UUID(int=0))  # before every product by name
_product = select(Product).where(Product.id == bindparam("id"))
_products = (
    select(Product).where(col(Product.id) == any_(bindparam("ids", type_=ARRAY(Uuid)))).order_by(col(Product.id))
)
_stocks = (
    select(Stock)
    .where(col(Stock.product_id) == any_(bindparam("ids", type_=ARRAY(Uuid))))
    .order_by(col(Stock.product_id))
)
_categories = select(Product.category, func.count()).group_by(Product.category).order_by(Product.category)
_totals: Select[Any] = select(
    *(
        cast(func.coalesce(func.sum(pieces), 0), BigInteger)
        for pieces in (Stock.on_hand, Stock.reserved, Stock.committed)
    )
)


@cache
def _catalogue(words: bool, category: bool) -> SelectOfScalar[Product]:
    """A statement for each combination of filters, so that each finds its index."""
    place = tuple_(bindparam("name", type_=String), bindparam("id", type_=Uuid))
    statement = select(Product).where(tuple_(col(Product.name), col(Product.id)) > place)
    if words:
        text = col(Product.name) + literal_column("' '") + col(Product.description)
        vector = func.to_tsvector(literal_column("'simple'"), text)
        query = func.to_tsquery(literal_column("'simple'"), bindparam("words", type_=String))
        found = select(Product.id).where(vector.bool_op("@@")(query)).cte("found").prefix_with("MATERIALIZED")
        statement = statement.where(col(Product.id).in_(select(found.c.id)))
    if category:
        statement = statement.where(Product.category == bindparam("category"))
    return statement.order_by(col(Product.name), col(Product.id)).limit(bindparam("count", type_=Integer))


async def product_by_id(work: UnitOfWork, id: UUID) -> Product:
    product = await work.one(_product, id=id)
    if product is None:
        raise ProductNotFound()
    return product


async def products_by_ids(work: UnitOfWork, ids: Sequence[UUID]) -> list[Product]:
    """Those that exist."""
    return await work.fetch(_products, ids=ids)


async def catalogue(
    work: UnitOfWork, q: str | None, category: str | None, after: tuple[str, UUID], count: int
) -> list[Product]:
    """By name. `q` are beginnings of words, all of which are in the name or the description."""
    words = " & ".join(f"{word}:*" for word in re.findall(r"\w+", q)) if q is not None else None
    statement = _catalogue(words is not None, category is not None)
    name, id = after
    return await work.fetch(statement, words=words, category=category, name=name, id=id, count=count)


async def stock_by_ids(work: UnitOfWork, ids: Sequence[UUID]) -> list[Stock]:
    """Of those products that exist."""
    return await work.fetch(_stocks, ids=ids)


async def categories(work: UnitOfWork) -> list[CategoryView]:
    return [CategoryView(name=name, products=count) for name, count in await work.fetch(_categories)]


async def stock_totals(work: UnitOfWork) -> StockTotals:
    on_hand, reserved, committed = await work.one(_totals)
    return StockTotals(on_hand=on_hand, reserved=reserved, committed=committed)
