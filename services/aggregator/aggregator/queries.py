"""Every SELECT of the aggregator, by name."""

import re
from functools import cache
from uuid import UUID

from sqlalchemy import Integer, String, Uuid, func, literal_column, tuple_
from sqlmodel import bindparam, col, select
from sqlmodel.sql.expression import SelectOfScalar

from aggregator.errors import OrderNotFound, ProductNotFound
from aggregator.models import Order, Product
from chassis.work import UnitOfWork
from contracts.product import CategoryView

FIRST_PRODUCT = ("", UUID(int=0))  # before every product by name
NEWEST_ORDER = (UUID(int=2**128 - 1),)  # before every order from the newest on
_product = select(Product).where(Product.id == bindparam("id"))
_categories = select(Product.category, func.count()).group_by(Product.category).order_by(Product.category)
_order = select(Order).where(Order.order_id == bindparam("id"))
_orders = (
    select(Order)
    .where(Order.customer_id == bindparam("customer_id"), col(Order.order_id) < bindparam("before", type_=Uuid))
    .order_by(col(Order.order_id).desc())
    .limit(bindparam("count", type_=Integer))
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


async def catalogue(
    work: UnitOfWork, q: str | None, category: str | None, after: tuple[str, UUID], count: int
) -> list[Product]:
    """By name. `q` are beginnings of words, all of which are in the name or the description."""
    words = " & ".join(f"{word}:*" for word in re.findall(r"\w+", q)) if q is not None else None
    statement = _catalogue(words is not None, category is not None)
    name, id = after
    return await work.fetch(statement, words=words, category=category, name=name, id=id, count=count)


async def product_by_id(work: UnitOfWork, id: UUID) -> Product:
    product = await work.one(_product, id=id)
    if product is None:
        raise ProductNotFound()
    return product


async def categories(work: UnitOfWork) -> list[CategoryView]:
    return [CategoryView(name=name, products=count) for name, count in await work.fetch(_categories)]


async def order_seen(work: UnitOfWork, id: UUID, customer_id: UUID) -> Order | None:
    """None is an answer here: the order may have been placed a moment ago."""
    order = await work.one(_order, id=id)
    if order is not None and order.customer_id != customer_id:
        raise OrderNotFound()
    return order


async def orders_of_customer(work: UnitOfWork, customer_id: UUID, before: UUID, count: int) -> list[Order]:
    return await work.fetch(_orders, customer_id=customer_id, before=before, count=count)
