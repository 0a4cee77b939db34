"""Order: carts, orders and the checkout process. Process layer."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from chassis.calls import Api, Layer
from chassis.message import WHOLE_FLOATS, Event
from contracts.payment import Cents, PaymentToken
from contracts.product import Currency, Line, Quantity

api = Api("order", Layer.PROCESS)
CURRENCY = "EUR"  # the only currency of carts and orders

NEVER = datetime.fromtimestamp(0, UTC)  # for events that were published before the field existed

AddressId = Annotated[UUID, Field(description="An address of the customer in the user service.")]
OrderVersion = Annotated[int, Field(description="Grows by one with each status change.", examples=[4])]
OrderReason = Annotated[
    str, Field(description="Why the order was stopped or not delivered, as a code.", examples=["payment_declined"])
]
ShippingCents = Annotated[int, Field(description="The price of shipping, in minor units.", examples=[490])]
TotalCents = Annotated[
    int, Field(strict=True, description="All lines and shipping, in minor units.", examples=[2489]), WHOLE_FLOATS
]


class OrderStatus(StrEnum):
    """The status of an order. `order/saga.py` holds the table of its transitions."""

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
    """A quantity of one product in a cart or an order, at the price of that product version."""

    product_id: UUID
    product_version: int = Field(description="The version of the product whose name and price these are.")
    name: str
    quantity: Quantity
    price_cents: Cents


class OrderState(BaseModel):
    """An order in full."""

    order_id: UUID
    version: OrderVersion
    status: OrderStatus
    reason: OrderReason | None
    customer_id: UUID
    lines: list[OrderLine]
    shipping_cents: ShippingCents
    total_cents: TotalCents
    currency: Currency
    placed_at: datetime
    changed_at: datetime = Field(default=NEVER, description="The time of the last status change.")
    refunded_cents: int = Field(default=0, description="Paid back so far, in minor units.", examples=[0])


class OrderView(OrderState):
    """An order as its customer and staff see it."""


class OrderEvent(OrderState, Event, key="order_id"):
    """The full state of an order after a transition. Consumers keep the state with the highest version."""


class OrderPlaced(OrderEvent, wire_type="order.order_placed.v1"):
    """A customer checked out. Neither goods nor money are held yet."""


class OrderReserved(OrderEvent, wire_type="order.order_reserved.v1"):
    """The goods are held, and the payment is requested."""


class OrderConfirmed(OrderEvent, wire_type="order.order_confirmed.v1"):
    """Goods and money are held, and the shipment is requested."""


class OrderWithdrawing(OrderEvent, wire_type="order.order_withdrawing.v1"):
    """Shipping was asked to stop the parcel. Goods and money are held until it answers."""


class OrderCancelling(OrderEvent, wire_type="order.order_cancelling.v1"):
    """Held goods and money are being released."""


class OrderCancelled(OrderEvent, wire_type="order.order_cancelled.v1"):
    """Neither goods nor money are held any more. `reason` says what ended the order."""


class OrderShipped(OrderEvent, wire_type="order.order_shipped.v1"):
    """The parcel has left, and the money is being captured."""


class OrderDelivered(OrderEvent, wire_type="order.order_delivered.v1"):
    """The parcel has arrived."""


class OrderUndelivered(OrderEvent, wire_type="order.order_undelivered.v1"):
    """The carrier has lost the parcel. The money goes back."""


class OrderRefunded(OrderEvent, wire_type="order.order_refunded.v1"):
    """Money went back: all of it if the status is `refunded`, otherwise a part. `refunded_cents` is the sum so far."""


# The event that announces each status.
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
    """One status change of an order."""

    version: OrderVersion
    status: OrderStatus
    reason: OrderReason | None
    cause: str = Field(
        description="The event that caused the change, or `checkout`, `deadline` or `customer`.",
        examples=["PaymentAuthorized"],
    )
    at: datetime


class ExportedOrder(BaseModel):
    """An order with all its status changes, for services that keep a copy."""

    order: OrderView
    steps: list[StepView]


class CartView(BaseModel):
    """The cart of a customer."""

    lines: list[OrderLine]
    total_cents: int = Field(description="The sum of all lines without shipping, in minor units.", examples=[1999])
    currency: Currency


class PutCartLine(BaseModel, extra="forbid"):
    """Set the quantity of a product in the cart."""

    quantity: Quantity


class PlaceOrder(BaseModel, extra="forbid"):
    """Check out the cart."""

    address_id: AddressId
    payment_token: PaymentToken
    total_cents: TotalCents | None = Field(
        default=None, description="The total that the customer saw. If it has changed, the checkout is refused."
    )
    quote_id: UUID | None = Field(default=None, description="A quote for this cart and address, whose prices hold.")


class RequestQuote(BaseModel, extra="forbid"):
    """Ask what the cart costs when it is sent to an address."""

    address_id: AddressId


class QuoteView(BaseModel):
    """Prices that hold until `valid_until`, for one cart and one address."""

    id: UUID
    address_id: AddressId
    lines: list[OrderLine]
    shipping_cents: ShippingCents
    total_cents: TotalCents
    currency: Currency
    valid_until: datetime


class ReturnGoods(BaseModel, extra="forbid"):
    """Announce which goods of a delivered order come back."""

    lines: list[Line] = Field(min_length=1, max_length=50)


class RefundState(StrEnum):
    """The state of a refund.

    `announced`: the goods have to come back. `awaiting_capture`: the payment has to be captured first.
    `requested`: payment was asked for it. `refused`: staff may resume the order, which requests it anew.
    """

    ANNOUNCED = "announced"
    AWAITING_CAPTURE = "awaiting_capture"
    REQUESTED = "requested"
    REFUNDED = "refunded"
    REFUSED = "refused"


class RefundView(BaseModel):
    """Money that goes back to the customer."""

    id: UUID
    lines: list[Line] = Field(description="The goods that come back; empty if the parcel was lost.")
    amount_cents: Cents
    state: RefundState
    reason: str | None = Field(default=None, description="Why it was refused, as a code.", examples=["account_closed"])


class StuckOrderView(BaseModel):
    """An order that needs a decision of staff."""

    order_id: UUID
    status: OrderStatus
    attention: str = Field(
        description="Why: `capture_refused`, `refund_refused`, `unanswered` or `delivery_overdue`.",
        examples=["capture_refused"],
    )
    stock: str = Field(description="The last fact known of the goods.", examples=["committed"])
    payment: str = Field(description="The last fact known of the money.", examples=["refused"])
    shipment: str = Field(description="The last fact known of the parcel.", examples=["dispatched"])
    changed_at: datetime


class ResumeOrder(BaseModel, extra="forbid"):
    """Repeat the commands that were refused or not answered."""

    write_off: bool = Field(default=False, strict=True, description="Write off the money that cannot be captured.")
