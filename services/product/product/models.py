"""The tables of the product service: products, their prices and stock, reservations and returns."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Table, Timestamptz


class Product(Table, table=True):
    """A product that is sold, or was sold until it was withdrawn. `version` grows with every change."""

    __tablename__ = "products"
    __table_args__ = (
        Index("products_by_name", "name", "id"),
        Index("products_by_category", "category", "name", "id", postgresql_where=text("NOT withdrawn")),
        Index("products_per_category", "category", postgresql_where=text("NOT withdrawn")),
        Index("products_by_text", text("to_tsvector('simple', (name || ' ') || description)"), postgresql_using="gin"),
    )
    id: UUID = Field(primary_key=True)
    version: int = Field(default=1, sa_type=BigInteger)
    name: str
    description: str
    category: str
    price_cents: int = Field(sa_type=BigInteger)
    currency: str
    weight_grams: int
    withdrawn: bool = False


class ProductPrice(Table, table=True):
    """The price of a product from this version on. A trigger on `products` writes it, so that no code can forget to."""

    __tablename__ = "product_prices"
    product_id: UUID = Field(primary_key=True)
    version: int = Field(primary_key=True, sa_type=BigInteger)
    price_cents: int = Field(sa_type=BigInteger)
    valid_from: datetime = Field(sa_type=Timestamptz)


class Stock(Table, table=True):
    """The pieces of a product: reserved ones are still on hand, committed ones have left, returned ones came back.

    Orders move pieces. `on_hand + committed - returned` changes only when staff sets the number on hand.
    """

    __tablename__ = "stock"
    __table_args__ = (
        CheckConstraint("0 <= reserved AND reserved <= on_hand", name="stock_is_never_oversold"),
        CheckConstraint("returned <= committed", name="never_more_returned_than_committed"),
        Index("low_stock", "product_id", postgresql_where=text("low")),
    )
    product_id: UUID = Field(primary_key=True, foreign_key="products.id")
    on_hand: int = Field(sa_type=BigInteger)
    reserved: int = Field(default=0, sa_type=BigInteger)
    committed: int = Field(default=0, sa_type=BigInteger)
    returned: int = Field(default=0, sa_type=BigInteger)
    withdrawn: bool = False  # a copy of the product's, so that a reservation reads this row alone
    low: bool = False  # below the limit, and StockLow was sent

    @property
    def available(self) -> int:
        """The pieces that can be reserved now."""
        return 0 if self.withdrawn else self.on_hand - self.reserved


class ReservationState(StrEnum):
    """The state of a reservation. One that was released before ReserveStock arrived is a tombstone."""

    RESERVED = "reserved"
    REJECTED = "rejected"
    COMMITTED = "committed"
    RELEASED = "released"


class Reservation(Table, table=True):
    """The pieces that are reserved for an order. A reservation never expires: only a command for its order ends it."""

    __tablename__ = "reservations"
    order_id: UUID = Field(primary_key=True)
    state: ReservationState = Field(sa_type=String)
    lines: dict[str, int] = Field(sa_column=Column(JSONB, nullable=False))  # pieces by product id
    # Products of which there were too few pieces.
    short_product_ids: list[Any] = Field(default_factory=list, sa_column=Column(JSONB, nullable=False))


class Return(Table, table=True):
    """Goods of an order that came back together."""

    __tablename__ = "returns"
    order_id: UUID = Field(primary_key=True)
    id: UUID = Field(primary_key=True)
    lines: dict[str, int] = Field(sa_column=Column(JSONB, nullable=False))  # pieces by product id
