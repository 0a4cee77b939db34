"""Product: catalogue, prices, stock and reservations. System layer."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from chassis.calls import Api, Layer
from chassis.message import ONE_LINE, WHOLE_FLOATS, Command, Event

api = Api("product", Layer.SYSTEM)

# Fields that several messages and models share: what they mean stands here once.
ProductId = Annotated[UUID, Field(description="The id of the product.")]
Version = Annotated[int, Field(description="Grows by one with every change of the product.", examples=[3])]
Cents = Annotated[int, Field(description="An amount in the minor unit of the currency.", examples=[1999])]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$", description="An ISO 4217 currency code.", examples=["EUR"])]
Quantity = Annotated[
    int, Field(strict=True, ge=1, le=1_000, description="The number of pieces.", examples=[2]), WHOLE_FLOATS
]
OnHand = Annotated[int, Field(description="Pieces in the warehouse, the reserved ones included.", examples=[40])]
Reserved = Annotated[int, Field(description="Pieces on hand that are reserved for orders.", examples=[3])]
WeightGrams = Annotated[int, Field(description="The weight of one piece in grams.", examples=[500])]

# The same fields where staff writes them: with the limits of an input.
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=ONE_LINE)]
ProductName = Annotated[Name, Field(description="One line of text.", examples=["Desk lamp"])]
CategoryName = Annotated[Name, Field(description="The name of one category.", examples=["Lamps"])]
Description = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=5_000, pattern=r"^[^\x00]*$"),
    Field(description="What the product is; searched together with its name.", examples=["Brushed steel, 40 cm"]),
]
PriceCents = Annotated[Cents, Field(strict=True, ge=1, le=100_000_000), WHOLE_FLOATS]
Grams = Annotated[WeightGrams, Field(strict=True, ge=1, le=1_000_000), WHOLE_FLOATS]
Pieces = Annotated[OnHand, Field(strict=True, ge=0, le=1_000_000_000), WHOLE_FLOATS]


class Line(BaseModel, frozen=True):
    """A product and the number of pieces of it."""

    product_id: UUID
    quantity: Quantity


class ReserveStock(Command, wire_type="product.reserve_stock.v1", key="order_id"):
    """Reserve all lines of an order, or none. Product answers with StockReserved or StockRejected."""

    order_id: UUID
    lines: list[Line] = Field(description="What the order needs; lines of the same product are added up.")


class CommitStock(Command, wire_type="product.commit_stock.v1", key="order_id"):
    """The goods of an order have left the warehouse: pieces on hand and reserved pieces become fewer.

    Product answers with StockCommitted.
    """

    order_id: UUID


class ReleaseStock(Command, wire_type="product.release_stock.v1", key="order_id"):
    """Undo ReserveStock, even if ReserveStock has not arrived yet.

    Product answers with StockReleased, or with StockCommitted when the goods have already left.
    """

    order_id: UUID


class RestockItems(Command, wire_type="product.restock_items.v1", key="order_id"):
    """Goods of a committed order have come back. Product answers with ItemsRestocked and counts each return once."""

    order_id: UUID
    return_id: UUID = Field(description="The id of the return; a command that repeats it changes nothing.")
    lines: list[Line] = Field(description="The goods that came back.")


class StockReserved(Event, wire_type="product.stock_reserved.v1", key="order_id"):
    """Every line of the order is reserved until it is committed or released."""

    order_id: UUID


class StockRejected(Event, wire_type="product.stock_rejected.v1", key="order_id"):
    """Nothing is reserved for the order."""

    order_id: UUID
    product_ids: list[UUID] = Field(description="The products of which there are too few pieces.")


class StockCommitted(Event, wire_type="product.stock_committed.v1", key="order_id"):
    """The goods of the order are no longer on hand."""

    order_id: UUID


class StockReleased(Event, wire_type="product.stock_released.v1", key="order_id"):
    """Nothing is reserved for the order, and a later ReserveStock is rejected."""

    order_id: UUID


class ItemsRestocked(Event, wire_type="product.items_restocked.v1", key="order_id"):
    """The goods of a return are on hand again."""

    order_id: UUID
    return_id: UUID = Field(description="The id of the return, as in RestockItems.")


class StockLow(Event, wire_type="product.stock_low.v1", key="product_id"):
    """Fewer pieces than the configured limit can be sold.

    Sent once when the stock falls below the limit, and again only after it has been above the limit.
    No service of this repository reads this event: a fork can order new pieces with it.
    """

    product_id: UUID
    available: int = Field(description="Pieces that can still be reserved.")


class ProductView(BaseModel):
    """A product as it is sold now."""

    id: ProductId
    version: Version
    name: str = Field(examples=["Desk lamp"])
    description: str = Field(examples=["Brushed steel, 40 cm"])
    category: str = Field(examples=["Lamps"])
    price_cents: Cents
    currency: Currency
    weight_grams: WeightGrams


class ProductChanged(Event, wire_type="product.product_changed.v1", key="product_id"):
    """The full state of a product after a change. Readers keep the state with the highest version."""

    product_id: UUID
    version: Version
    name: str
    description: str
    category: str
    price_cents: Cents
    currency: Currency
    weight_grams: WeightGrams = 500
    withdrawn: bool = Field(False, description="Whether the product is no longer sold.")


class PriceView(BaseModel):
    """A price in the history of a product. It holds until the next one."""

    version: int = Field(description="The version of the product that introduced the price.", examples=[3])
    price_cents: Cents
    valid_from: datetime = Field(description="When the product got this price.")


class StockView(BaseModel):
    """The stock of one product. `on_hand - reserved` pieces can be sold."""

    product_id: ProductId
    on_hand: OnHand
    reserved: Reserved


class StockTotals(BaseModel):
    """The pieces of all products together.

    Orders never change `on_hand + committed - returned`: only staff does.
    """

    on_hand: OnHand
    reserved: Reserved
    committed: int = Field(description="Pieces that have left the warehouse since the beginning.", examples=[120])
    returned: int = Field(0, description="Committed pieces that came back.", examples=[4])


class CategoryView(BaseModel):
    """A category of the catalogue."""

    name: str = Field(examples=["Lamps"])
    products: int = Field(description="The number of products in the category that are sold now.", examples=[12])


class AddProduct(BaseModel, extra="forbid"):
    """A new product and its stock. The client chooses the id, so that a repeated request adds the product once."""

    id: ProductId
    name: ProductName
    description: Description = ""
    category: CategoryName
    price_cents: PriceCents
    currency: Currency = "EUR"
    weight_grams: Grams = 500
    on_hand: Pieces = 0


class ChangeProduct(BaseModel, extra="forbid"):
    """The fields to change. A field that is absent or null keeps its value."""

    name: ProductName | None = None
    description: Description | None = None
    category: CategoryName | None = None
    price_cents: PriceCents | None = None
    weight_grams: Grams | None = None


class SetStock(BaseModel, extra="forbid"):
    """The number of pieces that are on hand now."""

    on_hand: Pieces
