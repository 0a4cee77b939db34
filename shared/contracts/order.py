"""Order: carts, orders and the checkout process. Process layer."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel

from chassis.discovery import Api, Layer
from chassis.messaging.message import Event
from contracts.product import Currency, Quantity

api = Api("order", Layer.PROCESS)


class OrderStatus(StrEnum):
    """Where an order stands; `order/saga.py` holds the table of its moves."""

    PLACED = "placed"
    RESERVED = "reserved"
    CONFIRMED = "confirmed"
    WITHDRAWING = "withdrawing"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    REFUNDED = "refunded"


class OrderLine(BaseModel, frozen=True):
    """So many of one product in a cart or an order, at the price that it had in `product_version`."""

    product_id: UUID
    product_version: int
    name: str
    quantity: Quantity
    price_cents: int


class OrderState(BaseModel):
    """An order in full. `total_cents` = sum of quantity times price, plus `shipping_cents`."""

    order_id: UUID
    version: int
    status: OrderStatus
    reason: str | None
    customer_id: UUID
    lines: list[OrderLine]
    shipping_cents: int
    total_cents: int
    currency: Currency
    placed_at: datetime


class OrderView(OrderState):
    """An order as its customer and staff see it."""


class OrderEvent(OrderState, Event, key="order_id"):
    """The full state of an order after a move; the highest version wins."""


class OrderPlaced(OrderEvent, wire_type="order.order_placed.v1"):
    """A customer checked out; nothing is promised yet."""


class OrderReserved(OrderEvent, wire_type="order.order_reserved.v1"):
    """The goods are held; the payment is asked for."""


class OrderConfirmed(OrderEvent, wire_type="order.order_confirmed.v1"):
    """Goods and money are held: the order will be sent."""


class OrderWithdrawing(OrderEvent, wire_type="order.order_withdrawing.v1"):
    """Shipping is asked to stop the parcel; nothing else is undone yet."""


class OrderCancelling(OrderEvent, wire_type="order.order_cancelling.v1"):
    """What was held is being given back."""


class OrderCancelled(OrderEvent, wire_type="order.order_cancelled.v1"):
    """Nothing is held any more; `reason` says what ended it."""


class OrderShipped(OrderEvent, wire_type="order.order_shipped.v1"):
    """The goods are on their way."""


class OrderDelivered(OrderEvent, wire_type="order.order_delivered.v1"):
    """The goods have arrived."""


# Which event says that an order has come to a status.
ANNOUNCED: dict[OrderStatus, type[OrderEvent]] = {
    OrderStatus.PLACED: OrderPlaced,
    OrderStatus.RESERVED: OrderReserved,
    OrderStatus.CONFIRMED: OrderConfirmed,
    OrderStatus.WITHDRAWING: OrderWithdrawing,
    OrderStatus.CANCELLING: OrderCancelling,
    OrderStatus.CANCELLED: OrderCancelled,
    OrderStatus.SHIPPED: OrderShipped,
    OrderStatus.DELIVERED: OrderDelivered,
}


class StepView(BaseModel):
    """One move of an order, and the message or event that caused it."""

    version: int
    status: OrderStatus
    reason: str | None
    cause: str
    at: datetime


class CartView(BaseModel):
    """The open cart of a customer."""

    lines: list[OrderLine]
    total_cents: int
    currency: Currency


class PutCartLine(BaseModel, extra="forbid"):
    """Set how many of a product are in the cart."""

    quantity: Quantity


class PlaceOrder(BaseModel, extra="forbid"):
    """Check out the open cart. `total_cents`, when given, is the total the customer saw."""

    address_id: UUID
    payment_token: str
    total_cents: int | None = None
