"""The tables of carts, quotes and orders."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, Index, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Table, Timestamptz
from contracts.order import OrderStatus
from contracts.product import Line


class StockLeg(StrEnum):
    """The last fact known of the goods of an order. A leg only goes forward in this list."""

    REQUESTED = "requested"
    RESERVED = "reserved"
    REJECTED = "rejected"
    COMMITTED = "committed"
    RELEASED = "released"


class PaymentLeg(StrEnum):
    """The last fact known of the money of an order. A leg only goes forward in this list."""

    NONE = "none"
    REQUESTED = "requested"
    AUTHORIZED = "authorized"
    DECLINED = "declined"
    REFUSED = "refused"
    CAPTURED = "captured"
    VOIDED = "voided"


class ShipmentLeg(StrEnum):
    """The last fact known of the parcel of an order. A leg only goes forward in this list."""

    NONE = "none"
    REQUESTED = "requested"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    DISPATCHED = "dispatched"
    DELIVERED = "delivered"
    LOST = "lost"


class Cart(Table, table=True):
    """The products that a customer wants to buy; one cart at most for each customer. A checkout deletes it."""

    __tablename__ = "carts"
    __table_args__ = (
        UniqueConstraint("customer_id"),
        Index("carts_expires_at", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
    )
    id: UUID = Field(primary_key=True)
    customer_id: UUID
    lines: list[dict[str, Any]] = Field(sa_column=Column(JSONB, nullable=False))  # contracts.order.OrderLine
    changed_at: datetime = Field(sa_type=Timestamptz)
    expires_at: datetime | None = Field(default=None, sa_type=Timestamptz)


class Quote(Table, table=True):
    """Prices that were promised for a cart and an address. A checkout with the quote deletes it."""

    __tablename__ = "quotes"
    id: UUID = Field(primary_key=True)
    customer_id: UUID = Field(index=True)
    address_id: UUID
    lines: list[dict[str, Any]] = Field(sa_column=Column(JSONB, nullable=False))  # contracts.order.OrderLine
    shipping_cents: int = Field(sa_type=BigInteger)
    total_cents: int = Field(sa_type=BigInteger)
    currency: str
    valid_until: datetime = Field(sa_type=Timestamptz, index=True)


class Order(Table, table=True):
    """An order with its three legs.

    `deadline` is when its status times out; `attention` is why staff has to look at it; `unanswered_tries` counts
    how often the commands of this status were repeated.
    """

    __tablename__ = "orders"
    __table_args__ = (
        UniqueConstraint("cart_id"),
        Index("orders_of_customer", "customer_id", "id"),
        Index("orders_deadline", "deadline", postgresql_where=text("deadline IS NOT NULL")),
        Index("orders_attention", "id", postgresql_where=text("attention IS NOT NULL")),
    )
    id: UUID = Field(primary_key=True)
    version: int = 1
    status: OrderStatus = Field(sa_type=String)
    reason: str | None = None
    attention: str | None = None
    unanswered_tries: int = 0
    deadline: datetime | None = Field(default=None, sa_type=Timestamptz)
    stock: StockLeg = Field(default=StockLeg.REQUESTED, sa_type=String)
    payment: PaymentLeg = Field(default=PaymentLeg.NONE, sa_type=String)
    shipment: ShipmentLeg = Field(default=ShipmentLeg.NONE, sa_type=String)
    customer_id: UUID
    cart_id: UUID
    address_id: UUID
    payment_token: str | None  # deleted once payment has it
    lines: list[dict[str, Any]] = Field(sa_column=Column(JSONB, nullable=False))  # contracts.order.OrderLine
    shipping_cents: int = Field(sa_type=BigInteger)
    total_cents: int = Field(sa_type=BigInteger)
    currency: str
    placed_at: datetime = Field(sa_type=Timestamptz)
    changed_at: datetime = Field(sa_type=Timestamptz)
    returnable_until: datetime | None = Field(default=None, sa_type=Timestamptz)
    refunds: list[dict[str, Any]] = Field(default=[], sa_column=Column(JSONB, nullable=False))  # see refunds.py
    refunded_cents: int = Field(default=0, sa_type=BigInteger)
    causation: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))

    @property
    def goods(self) -> list[Line]:
        """The products and quantities of the lines, without names and prices."""
        return [Line(product_id=line["product_id"], quantity=line["quantity"]) for line in self.lines]


class Step(Table, table=True):
    """One status change of an order. The history of an order is kept for good."""

    __tablename__ = "steps"
    order_id: UUID = Field(primary_key=True)
    version: int = Field(primary_key=True)
    status: OrderStatus = Field(sa_type=String)
    reason: str | None = None
    cause: str
    at: datetime = Field(sa_type=Timestamptz)
