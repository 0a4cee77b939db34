"""HTTP in: the catalogue from read models and the cache, with a live part where it matters."""

import asyncio
import json
from typing import Annotated, cast
from uuid import UUID

from fastapi import Query

from aggregator import queries
from aggregator.cache import Cache
from aggregator.config import AggregatorSettings
from aggregator.models import ProductReadModel
from chassis.errors import Problem
from chassis.pages import Cursor, Limit, Page, page, position
from chassis.web import Router, Runtime, Work
from contracts import product as product_contract
from contracts.aggregator import ProductDetail
from contracts.product import CategoryView, ProductView, StockView

router = Router(prefix="/api/v1")
SearchText = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")]


@router.get("/products")
async def list_products(
    work: Work,
    cache: Cache,
    q: SearchText = None,
    category: SearchText = None,
    cursor: Cursor = None,
    limit: Limit = 20,
) -> Page[ProductView]:
    """A page of the catalogue, by name. `q` are beginnings of words."""

    async def found() -> Page[ProductView]:
        rows = await queries.products_by_name(work, q, category, position(cursor, queries.FIRST_PRODUCT), limit + 1)
        return page(rows, limit, _product_view, lambda product: (product.name, product.id))

    return await cache.get_or_load(f"products:{json.dumps([q, category, cursor, limit])}", Page[ProductView], found)


@router.get("/products/{product_id}")
async def get_product(product_id: UUID, work: Work, cache: Cache, runtime: Runtime) -> ProductDetail:
    """A product, and how many pieces can be had right now."""

    async def found() -> ProductView:
        return _product_view(await queries.product_by_id(work, product_id))

    shown = await cache.get_or_load(f"product:{product_id}", ProductView, found)
    available = await _available(product_id, runtime)
    partial = ["available"] if available is None else []
    return ProductDetail(**shown.model_dump(), available=available, partial=partial)


async def _available(product_id: UUID, runtime: Runtime) -> int | None:
    """None when product does not say so quickly: a page without that number is better than none."""
    client = runtime.client(product_contract.api, as_service=True)
    try:
        async with asyncio.timeout(cast(AggregatorSettings, runtime.settings).stock_timeout_seconds):
            stock = await client.get("/stock", params={"ids": str(product_id)}, into=list[StockView])
    except TimeoutError:
        return None
    except Problem as problem:
        if problem.status < 500:
            raise
        return None
    return sum(it.on_hand - it.reserved for it in stock)


@router.get("/categories")
async def list_categories(work: Work, cache: Cache) -> list[CategoryView]:
    return await cache.get_or_load("categories", list[CategoryView], lambda: queries.categories(work))


def _product_view(product: ProductReadModel) -> ProductView:
    return ProductView.model_validate(product, from_attributes=True)
