"""HTTP in: the stock of products, for staff."""

from typing import Annotated
from uuid import UUID

from fastapi import Query

from chassis.web import Cursor, InvalidCursor, Limit, Page, Router, Staff, Work, decode_cursor, page, raises
from contracts.product import SetStock, StockTotals, StockView
from contracts.product_api import ProductNotFound, StockIsReserved
from product import queries
from product.config import ProductSettings
from product.handlers import update_low_stock
from product.models import Stock
from product.routes.ids import MAX_IDS, Ids

router = Router(tags=["Stock"])

LowFilter = Annotated[bool, Query(description="Only stock below the limit `PRODUCT_LOW_STOCK_PIECES`.")]


@router.get("/stock", responses=raises(InvalidCursor))
async def list_stock(
    work: Work[ProductSettings], _: Staff, ids: Ids, low: LowFilter = False, cursor: Cursor = None, limit: Limit = 20
) -> Page[StockView]:
    """The stock of products, by product id

    All products, withdrawn ones included; or those with given ids; or those whose stock is low.
    """
    if ids is not None:
        found = await queries.stock_by_ids(work, ids)
        return page(found, MAX_IDS, _stock_view, lambda stock: (stock.product_id,))
    (after,) = decode_cursor(cursor, queries.START_BY_ID)
    found = await queries.stock_after(work, after, limit + 1, low)
    return page(found, limit, _stock_view, lambda stock: (stock.product_id,))


@router.get("/totals")
async def get_stock_totals(work: Work[ProductSettings], _: Staff) -> StockTotals:
    """The stock of all products together

    Reads the whole table: it serves audits, not dashboards.
    """
    return await queries.stock_totals(work)


@router.put("/stock/{product_id}", responses=raises(ProductNotFound, StockIsReserved))
async def set_stock(product_id: UUID, body: SetStock, work: Work[ProductSettings], _: Staff) -> StockView:
    """Set the number of pieces on hand

    The number replaces the one before, reserved pieces included. It cannot be below what is reserved for orders.
    """
    found = await work.lock_one(Stock, ProductNotFound, product_id=product_id)
    if body.on_hand < found.reserved:
        raise StockIsReserved(field="on_hand", reserved=found.reserved)
    found.on_hand = body.on_hand
    update_low_stock(found, work)
    return _stock_view(found)


def _stock_view(stock: Stock) -> StockView:
    return StockView(product_id=stock.product_id, on_hand=stock.on_hand, reserved=stock.reserved)
