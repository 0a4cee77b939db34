"""Order: carts, orders and the checkout process. Process layer."""

from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, Field

from chassis.discovery import Api, Layer
from chassis.messaging.message import Event
from contracts.product import Currency, Line, Quantity

api = Api("order", Layer.PROCESS)
CURRENCY = "EUR"  # the one that carts and orders have

NEVER = datetime.fromtimestamp(0, UTC)  # of events from before the field was there


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
    changed_at: datetime = NEVER
    refunded_cents: int = 0


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


class OrderUndelivered(OrderEvent, wire_type="order.order_undelivered.v1"):
    """The goods were lost on their way; the money goes back."""


class OrderRefunded(OrderEvent, wire_type="order.order_refunded.v1"):
    """Money went back, a part or, with the status refunded, all of it; `refunded_cents` says how much so far."""


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
    OrderStatus.UNDELIVERED: OrderUndelivered,
    OrderStatus.REFUNDED: OrderRefunded,
}


class StepView(BaseModel):
    """One move of an order, and the message or event that caused it."""

    version: int
    status: OrderStatus
    reason: str | None
    cause: str
    at: datetime


class ExportedOrder(BaseModel):
    """An order with all its steps, for whoever keeps a copy."""

    order: OrderView
    steps: list[StepView]


class CartView(BaseModel):
    """The open cart of a customer."""

    lines: list[OrderLine]
    total_cents: int
    currency: Currency


class PutCartLine(BaseModel, extra="forbid"):
    """Set how many of a product are in the cart."""

    quantity: Quantity


class PlaceOrder(BaseModel, extra="forbid"):
    """Check out the open cart. `total_cents`, when given, is the total the customer saw.

    With `quote_id` the prices of that quote hold, whatever they are now.
    """

    address_id: UUID
    payment_token: str
    total_cents: int | None = None
    quote_id: UUID | None = None


class RequestQuote(BaseModel, extra="forbid"):
    """Ask what the open cart costs when it is sent to an address."""

    address_id: UUID


class QuoteView(BaseModel):
    """Prices that hold until a moment, for the cart and the address they were asked for."""

    id: UUID
    address_id: UUID
    lines: list[OrderLine]
    shipping_cents: int
    total_cents: int
    currency: Currency
    valid_until: datetime


class ReturnGoods(BaseModel, extra="forbid"):
    """Announce that goods of a delivered order come back."""

    lines: list[Line] = Field(min_length=1, max_length=50)


class RefundState(StrEnum):
    """How far a refund is. Goods that were announced have to come back first."""

    ANNOUNCED = "announced"
    AWAITING_CAPTURE = "awaiting_capture"  # for the capture: what was not taken cannot be given back
    REQUESTED = "requested"
    REFUNDED = "refunded"
    REFUSED = "refused"


class RefundView(BaseModel):
    """Money that goes back: for goods that come back, or for all of a parcel that was lost (then without lines)."""

    id: UUID
    lines: list[Line]
    amount_cents: int
    state: RefundState
    reason: str | None = None


class StuckOrderView(BaseModel):
    """An order that somebody has to look at. `attention` says why, the legs what is known of it."""

    order_id: UUID
    status: OrderStatus
    attention: str
    stock: str
    payment: str
    shipment: str
    changed_at: datetime


class ResumeOrder(BaseModel, extra="forbid"):
    """Ask once more for what did not come; with `write_off` the money that cannot be captured is given up."""

    write_off: bool = False
