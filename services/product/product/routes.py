"""HTTP in: the catalogue and its stock, to read for any caller and to change for staff."""

from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import Field

from chassis.errors import InvalidInput
from chassis.pages import Cursor, Limit, Page, page, position
from chassis.web import Caller, Router, Staff, Work
from contracts.product import (
    AddProduct,
    CategoryView,
    ChangeProduct,
    ProductChanged,
    ProductView,
    SetStock,
    StockTotals,
    StockView,
)
from product import queries
from product.errors import ProductNotFound, StockIsReserved
from product.models import Product, Stock

router = Router()
MAX_IDS, MAX_NEW = 100, 500

T = TypeVar("T", Product, Stock)
Search = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")]


def _ids(
    ids: Annotated[str | None, Query(description="Comma-separated", max_length=4_000)] = None,
) -> list[UUID] | None:
    try:
        found = None if ids is None else [UUID(id) for id in ids.split(",") if id]
    except ValueError:
        raise InvalidInput(field="ids") from None
    if found is not None and len(found) > MAX_IDS:
        raise InvalidInput(f"At most {MAX_IDS} ids at a time.", field="ids")
    return found


Ids = Annotated[list[UUID] | None, Depends(_ids)]


@router.get("/products")
async def products(
    work: Work, _: Caller, ids: Ids, q: Search = None, category: Search = None, cursor: Cursor = None, limit: Limit = 20
) -> Page[ProductView] | list[ProductView]:
    """A page of the catalogue; with `ids` a list of those of them that exist."""
    if ids is not None:
        return [_view(product) for product in await queries.products_by_ids(work, ids)]
    found = await queries.catalogue(work, q, category, position(cursor, queries.FIRST), limit + 1)
    return page(found, limit, _view, lambda product: (product.name, product.id))


@router.get("/products/{product_id}")
async def product(product_id: UUID, work: Work, _: Caller) -> ProductView:
    return _view(await queries.product_by_id(work, product_id))


@router.get("/categories")
async def categories(work: Work, _: Caller) -> list[CategoryView]:
    return await queries.categories(work)


@router.get("/stock")
async def stock(work: Work, _: Staff, ids: Ids) -> list[StockView]:
    return [_stock_view(it) for it in await queries.stock_by_ids(work, ids or [])]


@router.get("/totals")
async def totals(work: Work, _: Staff) -> StockTotals:
    return await queries.stock_totals(work)


@router.post("/products", status_code=201)
async def add_products(
    body: Annotated[list[AddProduct], Field(max_length=MAX_NEW)], work: Work, _: Staff
) -> list[ProductView]:
    """Add those that do not exist yet, and leave the others as they are."""
    await work.execute("LOCK TABLE products IN SHARE ROW EXCLUSIVE MODE")  # two may add the same product now
    known = {it.id: it for it in await queries.products_by_ids(work, [new.id for new in body])}
    for new in body:
        if new.id not in known:
            known[new.id] = work.add(Product.new(**new.model_dump(exclude={"on_hand"})))
            work.add(Stock.new(product_id=new.id, on_hand=new.on_hand))
            work.send(_changed(known[new.id]))
    return [_view(known[new.id]) for new in body]


@router.patch("/products/{product_id}")
async def change_product(product_id: UUID, body: ChangeProduct, work: Work, _: Staff) -> ProductView:
    found = await _locked(work, Product, id=[product_id])
    changes = {name: value for name, value in body if value is not None and value != getattr(found, name)}
    if changes:
        for name, value in changes.items():
            setattr(found, name, value)
        found.version += 1
        work.send(_changed(found))
    return _view(found)


@router.put("/stock/{product_id}")
async def set_stock(product_id: UUID, body: SetStock, work: Work, _: Staff) -> StockView:
    found = await _locked(work, Stock, product_id=[product_id])
    if body.on_hand < found.reserved:
        raise StockIsReserved(field="on_hand", reserved=found.reserved)
    found.on_hand = body.on_hand
    return _stock_view(found)


async def _locked(work: Work, table: type[T], **key: list[UUID]) -> T:
    found = await work.lock(table, **key)
    if not found:
        raise ProductNotFound()
    return found[0]


def _view(product: Product) -> ProductView:
    return ProductView.model_validate(product, from_attributes=True)


def _changed(product: Product) -> ProductChanged:
    return ProductChanged(product_id=product.id, **product.model_dump(exclude={"id"}))


def _stock_view(stock: Stock) -> StockView:
    return StockView(product_id=stock.product_id, on_hand=stock.on_hand, reserved=stock.reserved)
