"""Product: catalogue, prices, stock and reservations. System layer."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from chassis.discovery import Api, Layer
from chassis.messaging.message import Command, Event

api = Api("product", Layer.SYSTEM)

Quantity = Annotated[int, Field(ge=1, le=1_000)]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$")]
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")
]
Description = Annotated[str, StringConstraints(strip_whitespace=True, max_length=5_000, pattern=r"^[^\x00]*$")]
PriceCents = Annotated[int, Field(ge=1, le=100_000_000)]
Pieces = Annotated[int, Field(ge=0, le=1_000_000_000)]
Grams = Annotated[int, Field(ge=1, le=1_000_000)]


class Line(BaseModel, frozen=True):
    """So many of one product."""

    product_id: UUID
    quantity: Quantity


class ReserveStock(Command, wire_type="product.reserve_stock.v1", key="order_id"):
    """Hold all lines or none. Answered by StockReserved or StockRejected."""

    order_id: UUID
    lines: list[Line]


class CommitStock(Command, wire_type="product.commit_stock.v1", key="order_id"):
    """The goods have left: on hand and reserved fall. Answered by StockCommitted."""

    order_id: UUID


class ReleaseStock(Command, wire_type="product.release_stock.v1", key="order_id"):
    """Undo ReserveStock, also one never seen. Answered by StockReleased."""

    order_id: UUID


class RestockItems(Command, wire_type="product.restock_items.v1", key="order_id"):
    """Goods of a committed order came back. Answered by ItemsRestocked, once per `return_id`."""

    order_id: UUID
    return_id: UUID
    lines: list[Line]


class StockReserved(Event, wire_type="product.stock_reserved.v1", key="order_id"):
    """Every line of the order is held until it is committed or released."""

    order_id: UUID


class StockRejected(Event, wire_type="product.stock_rejected.v1", key="order_id"):
    """Nothing is held for the order; `product_ids` are those that fell short."""

    order_id: UUID
    product_ids: list[UUID]


class StockCommitted(Event, wire_type="product.stock_committed.v1", key="order_id"):
    """The goods of the order are no longer on hand."""

    order_id: UUID


class StockReleased(Event, wire_type="product.stock_released.v1", key="order_id"):
    """Nothing is held for the order, and a later ReserveStock is refused."""

    order_id: UUID


class ItemsRestocked(Event, wire_type="product.items_restocked.v1", key="order_id"):
    """The goods of a return are on hand again."""

    order_id: UUID
    return_id: UUID


class StockLow(Event, wire_type="product.stock_low.v1", key="product_id"):
    """The pieces that can be sold have fallen below the limit; said once, until there are more again."""

    product_id: UUID
    available: int


class ProductView(BaseModel):
    """A product as sold now. `version` grows with every change."""

    id: UUID
    version: int
    name: str
    description: str
    category: str
    price_cents: int
    currency: Currency
    weight_grams: int


class ProductChanged(Event, wire_type="product.product_changed.v1", key="product_id"):
    """The full state of a product after a change; the highest version wins. One withdrawn is not sold any more."""

    product_id: UUID
    version: int
    name: str
    description: str
    category: str
    price_cents: int
    currency: Currency
    weight_grams: int = 500
    withdrawn: bool = False


class PriceView(BaseModel):
    """A price that a product had from a version and a moment on."""

    version: int
    price_cents: int
    valid_from: datetime


class StockView(BaseModel):
    """Pieces on hand, and how many of them are held for orders."""

    product_id: UUID
    on_hand: int
    reserved: int


class StockTotals(BaseModel):
    """Pieces of all products together. `committed` have left since the beginning, of which `returned` came back.

    Only staff changes on_hand + committed - returned; orders do not.
    """

    on_hand: int
    reserved: int
    committed: int
    returned: int = 0


class CategoryView(BaseModel):
    """A category, and how many products are in it."""

    name: str
    products: int


class AddProduct(BaseModel, extra="forbid"):
    """Put a product into the catalogue, with so many pieces on hand."""

    id: UUID
    name: Name
    description: Description = ""
    category: Name
    price_cents: PriceCents
    currency: Currency = "EUR"
    weight_grams: Grams = 500
    on_hand: Pieces = 0


class ChangeProduct(BaseModel, extra="forbid"):
    """Change what is given and leave the rest."""

    name: Name | None = None
    description: Description | None = None
    category: Name | None = None
    price_cents: PriceCents | None = None
    weight_grams: Grams | None = None


class SetStock(BaseModel, extra="forbid"):
    """So many pieces are on hand now, those that are reserved among them."""

    on_hand: Pieces
