"""Every SELECT of the product service, by name."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Integer, Select, String, Uuid, any_, cast, func, literal_column, tuple_
from sqlmodel import bindparam, col, select
from sqlmodel.sql.expression import SelectOfScalar

from chassis.database import UnitOfWork
from contracts.product import CategoryView, PriceView, StockTotals
from contracts.product_api import ProductNotFound
from product.models import Product, ProductPrice, Stock

# Where the first page of a list begins: a position before every row.
START_BY_NAME = ("", UUID(int=0))
START_BY_ID = (UUID(int=0),)

_sold = select(Product).where(~col(Product.withdrawn))
_product = _sold.where(Product.id == bindparam("id"))
_products = _sold.where(col(Product.id) == any_(bindparam("ids", type_=ARRAY(Uuid)))).order_by(col(Product.id))
_products_after = (
    _sold.where(Product.id > bindparam("after")).order_by(col(Product.id)).limit(bindparam("count", type_=Integer))
)
_prices = select(ProductPrice).where(ProductPrice.product_id == bindparam("id")).order_by(col(ProductPrice.version))
_stock = (
    select(Stock)
    .where(col(Stock.product_id) == any_(bindparam("ids", type_=ARRAY(Uuid))))
    .order_by(col(Stock.product_id))
)
_stock_after = (
    select(Stock)
    .where(Stock.product_id > bindparam("after"))
    .order_by(col(Stock.product_id))
    .limit(bindparam("count", type_=Integer))
)
_low_stock_after = _stock_after.where(col(Stock.low))
_categories = (
    select(Product.category, func.count())
    .where(~col(Product.withdrawn))
    .group_by(Product.category)
    .order_by(Product.category)
)
_totals: Select[Any] = select(
    *(
        cast(func.coalesce(func.sum(pieces), 0), BigInteger)
        for pieces in (Stock.on_hand, Stock.reserved, Stock.committed, Stock.returned)
    )
)


@cache
def _products_by_name(words: bool, category: bool) -> SelectOfScalar[Product]:
    """A statement for each combination of filters, so that the planner finds an index for each."""
    place = tuple_(bindparam("name", type_=String), bindparam("id", type_=Uuid))
    statement = _sold.where(tuple_(col(Product.name), col(Product.id)) > place)
    if words:
        text = col(Product.name) + literal_column("' '") + col(Product.description)
        vector = func.to_tsvector(literal_column("'simple'"), text)
        query = func.to_tsquery(literal_column("'simple'"), bindparam("words", type_=String))
        # The ids are found first, as an array: the planner estimates prefix matches badly, and with a join it would
        # read the whole table.
        found = func.array(select(Product.id).where(vector.bool_op("@@")(query)).scalar_subquery())
        statement = statement.where(col(Product.id) == any_(found))
    if category:
        statement = statement.where(Product.category == bindparam("category"))
    return statement.order_by(col(Product.name), col(Product.id)).limit(bindparam("count", type_=Integer))


async def product_by_id(work: UnitOfWork, id: UUID) -> Product:
    product = await work.one(_product, id=id)
    if product is None:
        raise ProductNotFound()
    return product


async def products_by_ids(work: UnitOfWork, ids: Sequence[UUID]) -> list[Product]:
    """Those of the products that exist and are sold, by id."""
    return await work.fetch(_products, ids=ids)


async def products_after(work: UnitOfWork, after: UUID, count: int) -> list[Product]:
    """Products that are sold, by id."""
    return await work.fetch(_products_after, after=after, count=count)


async def prices_of_product(work: UnitOfWork, id: UUID) -> list[PriceView]:
    """Every price of a product, also of a withdrawn one; the oldest first."""
    prices = await work.fetch(_prices, id=id)
    if not prices:
        raise ProductNotFound()
    return [PriceView.model_validate(price, from_attributes=True) for price in prices]


async def products_by_name(
    work: UnitOfWork, q: str | None, category: str | None, after: tuple[str, UUID], count: int
) -> list[Product]:
    """Products that are sold, by name. Each word in `q` must begin a word in the name or the description.

    An empty `q` or `category` does not filter.
    """
    words = " & ".join(f"{word}:*" for word in re.findall(r"\w+", q)) if q and q.strip() else None
    statement = _products_by_name(words is not None, bool(category))
    name, id = after
    return await work.fetch(statement, words=words, category=category, name=name, id=id, count=count)


async def stock_by_ids(work: UnitOfWork, ids: Sequence[UUID]) -> list[Stock]:
    """The stock of those of the products that exist, by product id."""
    return await work.fetch(_stock, ids=ids)


async def stock_after(work: UnitOfWork, after: UUID, count: int, low: bool) -> list[Stock]:
    """The stock of all products, or with `low` of those that run low, by product id."""
    return await work.fetch(_low_stock_after if low else _stock_after, after=after, count=count)


async def categories(work: UnitOfWork) -> list[CategoryView]:
    return [CategoryView(name=name, products=count) for name, count in await work.fetch(_categories)]


async def stock_totals(work: UnitOfWork) -> StockTotals:
    on_hand, reserved, committed, returned = await work.one(_totals)
    return StockTotals(on_hand=on_hand, reserved=reserved, committed=committed, returned=returned)
