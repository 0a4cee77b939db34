"""HTTP in: the catalogue. It comes from the read models and the cache, the stock from the product service."""

import asyncio
import json
from typing import Annotated
from uuid import UUID

from fastapi import Query

from aggregator import queries
from aggregator.cache import Cache
from aggregator.config import AggregatorSettings
from aggregator.models import ProductReadModel
from chassis.errors import Problem
from chassis.web import Cursor, InvalidCursor, Limit, Page, Router, Runtime, Work, decode_cursor, page, raises
from contracts import product_api
from contracts.aggregator import ProductDetail
from contracts.product import CategoryView, ProductView
from contracts.product_api import ProductNotFound

router = Router(prefix="/api/v1", tags=["Catalogue"])
NO_NUL = r"^[^\x00]*$"
SearchText = Annotated[str, Query(max_length=100, pattern=NO_NUL, description="Beginnings of words to search for.")]
Category = Annotated[str, Query(max_length=100, pattern=NO_NUL, description="Name of a category, as it is listed.")]


@router.get("/products", responses=raises(InvalidCursor))
async def list_products(
    work: Work, cache: Cache, q: SearchText = "", category: Category = "", cursor: Cursor = None, limit: Limit = 20
) -> Page[ProductView]:
    """List products

    Sorted by name. `q` finds products in whose name or description all of its words occur, or words that begin with
    them. `category` leaves out the other categories. Both may be empty: then nothing is left out.

    A page may be some seconds old. That is safe, since the checkout compares prices with the current ones.
    """

    async def load() -> Page[ProductView]:
        rows = await queries.products_by_name(
            work, q, category, decode_cursor(cursor, queries.FIRST_PRODUCT), limit + 1
        )
        return page(rows, limit, _product_view, lambda product: (product.name, product.id))

    return await cache.get_or_load(f"products:{json.dumps([q, category, cursor, limit])}", Page[ProductView], load)


@router.get("/products/{product_id}", responses=raises(ProductNotFound))
async def get_product(
    product_id: UUID, work: Work, cache: Cache, runtime: Runtime[AggregatorSettings]
) -> ProductDetail:
    """Get a product and its stock

    `available` says how many pieces can be ordered right now. If the stock is not known in time, `available` is null
    and `partial` contains `available`; everything else is complete.
    """

    async def load() -> ProductView:
        return _product_view(await queries.product_by_id(work, product_id))

    product = await cache.get_or_load(f"product:{product_id}", ProductView, load)
    available = await _available(product_id, runtime)
    partial = ["available"] if available is None else []
    return ProductDetail(**product.model_dump(), available=available, partial=partial)


async def _available(product_id: UUID, runtime: Runtime[AggregatorSettings]) -> int | None:
    """None when the product service does not answer quickly: a page without that number is better than no page."""
    try:
        async with asyncio.timeout(runtime.settings.stock_timeout_seconds):
            stock = await runtime.call(product_api.list_stock, as_service=True, query={"ids": str(product_id)})
    except TimeoutError:
        return None
    except Problem as problem:
        if problem.status < 500:
            raise
        return None
    return sum(it.on_hand - it.reserved for it in stock.items)


@router.get("/categories")
async def list_categories(work: Work, cache: Cache) -> list[CategoryView]:
    """List categories

    Sorted by name, each with the number of its products.
    """
    return await cache.get_or_load("categories", list[CategoryView], lambda: queries.categories(work))


def _product_view(product: ProductReadModel) -> ProductView:
    return ProductView.model_validate(product, from_attributes=True)
