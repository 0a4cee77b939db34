"""HTTP in: the catalogue and its stock, to read for any caller and to change for staff."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query
from pydantic import Field

from chassis.errors import InvalidInput
from chassis.pages import Cursor, Limit, Page, page, position
from chassis.web import Caller, Router, ServiceCaller, Staff, Work
from contracts.product import (
    AddProduct,
    CategoryView,
    ChangeProduct,
    PriceView,
    ProductChanged,
    ProductView,
    SetStock,
    StockTotals,
    StockView,
)
from product import queries
from product.errors import ProductNotFound, StockIsReserved
from product.handlers import update_low_stock
from product.models import Product, Stock

router = Router()
MAX_IDS, MAX_NEW_PRODUCTS = 100, 500
ADD_PRODUCTS_LOCK = 0x0ADD  # an advisory lock: two may add the same product now

SearchText = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")]


def _parse_ids(
    ids: Annotated[str | None, Query(description="Comma-separated", max_length=4_000)] = None,
) -> list[UUID] | None:
    try:
        found = None if ids is None else [UUID(id) for id in ids.split(",") if id]
    except ValueError:
        raise InvalidInput(field="ids") from None
    if found is not None and len(found) > MAX_IDS:
        raise InvalidInput(f"At most {MAX_IDS} ids at a time.", field="ids")
    return found


Ids = Annotated[list[UUID] | None, Depends(_parse_ids)]


@router.get("/products")
async def list_products(
    work: Work,
    _: Caller,
    ids: Ids,
    q: SearchText = None,
    category: SearchText = None,
    cursor: Cursor = None,
    limit: Limit = 20,
) -> Page[ProductView] | list[ProductView]:
    """A page of the catalogue; with `ids` a list of those of them that exist."""
    if ids is not None:
        return [_product_view(product) for product in await queries.products_by_ids(work, ids)]
    found = await queries.products_by_name(work, q, category, position(cursor, queries.START_BY_NAME), limit + 1)
    return page(found, limit, _product_view, lambda product: (product.name, product.id))


@router.get("/products/{product_id}")
async def get_product(product_id: UUID, work: Work, _: Caller) -> ProductView:
    return _product_view(await queries.product_by_id(work, product_id))


@router.get("/products/{product_id}/prices")
async def list_prices(product_id: UUID, work: Work, _: Caller) -> list[PriceView]:
    """A price holds from its version on until the next one. Kept for good, so that an old order can be checked."""
    return await queries.prices_of_product(work, product_id)


@router.get("/exports/products")
async def export_products(work: Work, _: ServiceCaller, cursor: Cursor = None, limit: Limit = 100) -> Page[ProductView]:
    """All products that are sold, by id, for read models that are built anew."""
    (after,) = position(cursor, queries.START_BY_ID)
    found = await queries.products_after(work, after, limit + 1)
    return page(found, limit, _product_view, lambda product: (product.id,))


@router.get("/categories")
async def list_categories(work: Work, _: Caller) -> list[CategoryView]:
    return await queries.categories(work)


@router.get("/stock")
async def list_stock(
    work: Work, _: Staff, ids: Ids, low: bool = False, cursor: Cursor = None, limit: Limit = 20
) -> Page[StockView] | list[StockView]:
    """The stock of these products as a list; with `low` a page of those that are about to run out."""
    if not low:
        return [_stock_view(it) for it in await queries.stock_by_ids(work, ids or [])]
    (after,) = position(cursor, queries.START_BY_ID)
    found = await queries.low_stock(work, after, limit + 1)
    return page(found, limit, _stock_view, lambda stock: (stock.product_id,))


@router.get("/totals")
async def get_stock_totals(work: Work, _: Staff) -> StockTotals:
    return await queries.stock_totals(work)


@router.post("/products", status_code=201)
async def add_products(
    body: Annotated[list[AddProduct], Field(max_length=MAX_NEW_PRODUCTS)], work: Work, _: Staff
) -> list[ProductView]:
    """Add those that are not sold yet, and leave the others as they are. One that was withdrawn comes back as it is
    given, with the pieces that are still there.
    """
    await work.execute("SELECT pg_advisory_xact_lock($1)", ADD_PRODUCTS_LOCK)
    ids = [new.id for new in body]
    await work.lock(Product, id=ids)
    await work.lock(Stock, product_id=ids)
    return [_product_view(_add_product(new, work)) for new in body]


def _add_product(new: AddProduct, work: Work) -> Product:
    given = new.model_dump(exclude={"on_hand"})
    product, stock = work.get(Product, new.id), work.get(Stock, new.id)
    if product is None or stock is None:
        product = work.add(Product.new(**given))
        stock = work.add(Stock.new(product_id=new.id, on_hand=new.on_hand))
    elif not product.withdrawn:
        return product
    else:
        _update_product(product, withdrawn=False, **given)
        stock.withdrawn = False
    update_low_stock(stock, work)
    work.send(_changed_event(product))
    return product


@router.patch("/products/{product_id}")
async def change_product(product_id: UUID, body: ChangeProduct, work: Work, _: Staff) -> ProductView:
    found = await _lock_product(product_id, work)
    changes = {name: value for name, value in body if value is not None and value != getattr(found, name)}
    if changes:
        _update_product(found, **changes)
        work.send(_changed_event(found))
    return _product_view(found)


@router.delete("/products/{product_id}", status_code=204)
async def withdraw_product(product_id: UUID, work: Work, _: Staff) -> None:
    """It is not sold any more. Orders that hold pieces of it keep them; carts find out when they check out."""
    found, stock = await _lock_product(product_id, work), await _lock_stock(product_id, work)
    _update_product(found, withdrawn=True)
    stock.withdrawn = True
    update_low_stock(stock, work)
    work.send(_changed_event(found))


@router.put("/stock/{product_id}")
async def set_stock(product_id: UUID, body: SetStock, work: Work, _: Staff) -> StockView:
    found = await _lock_stock(product_id, work)
    if body.on_hand < found.reserved:
        raise StockIsReserved(field="on_hand", reserved=found.reserved)
    found.on_hand = body.on_hand
    update_low_stock(found, work)
    return _stock_view(found)


async def _lock_product(id: UUID, work: Work) -> Product:
    """One that is sold."""
    for found in await work.lock(Product, id=[id]):
        if not found.withdrawn:
            return found
    raise ProductNotFound()


async def _lock_stock(id: UUID, work: Work) -> Stock:
    for found in await work.lock(Stock, product_id=[id]):
        return found
    raise ProductNotFound()


def _update_product(product: Product, **values: Any) -> None:
    for name, value in values.items():
        setattr(product, name, value)
    product.version += 1


def _product_view(product: Product) -> ProductView:
    return ProductView.model_validate(product, from_attributes=True)


def _changed_event(product: Product) -> ProductChanged:
    return ProductChanged(product_id=product.id, **product.model_dump(exclude={"id"}))


def _stock_view(stock: Stock) -> StockView:
    return StockView(product_id=stock.product_id, on_hand=stock.on_hand, reserved=stock.reserved)
