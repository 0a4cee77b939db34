"""Products, their prices and stock, what is held of it for orders, and what came back from them."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Table, Timestamptz


class Product(Table, table=True):
    """What is sold, or was until it was withdrawn. `version` grows with every change."""

    __tablename__ = "products"
    __table_args__ = (
        Index("products_by_name", "name", "id"),
        Index("products_sold", "category", "name", "id", postgresql_where=text("NOT withdrawn")),
        Index("products_counted", "category", postgresql_where=text("NOT withdrawn")),
        Index("products_by_words", text("to_tsvector('simple', (name || ' ') || description)"), postgresql_using="gin"),
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


class Price(Table, table=True):
    """What a product cost from this version on. Written by a trigger on `products`, so that nobody can forget it."""

    __tablename__ = "prices"
    product_id: UUID = Field(primary_key=True)
    version: int = Field(primary_key=True, sa_type=BigInteger)
    price_cents: int = Field(sa_type=BigInteger)
    since: datetime = Field(sa_type=Timestamptz)


class Stock(Table, table=True):
    """Pieces of a product. Those reserved are still on hand; those committed left, and of these some returned.

    Orders move pieces, but on_hand + committed - returned changes only when staff sets what is on hand.
    """

    __tablename__ = "stock"
    __table_args__ = (
        CheckConstraint("0 <= reserved AND reserved <= on_hand", name="stock_is_never_oversold"),
        CheckConstraint("returned <= committed", name="no_more_came_back_than_left"),
        Index("stock_low", "product_id", postgresql_where=text("low")),
    )
    product_id: UUID = Field(primary_key=True, foreign_key="products.id")
    on_hand: int = Field(sa_type=BigInteger)
    reserved: int = Field(default=0, sa_type=BigInteger)
    committed: int = Field(default=0, sa_type=BigInteger)
    returned: int = Field(default=0, sa_type=BigInteger)
    withdrawn: bool = False  # as its product, which a reservation then need not read
    low: bool = False  # and said so

    @property
    def available(self) -> int:
        """How many can be reserved now."""
        return 0 if self.withdrawn else self.on_hand - self.reserved


class Hold(StrEnum):
    """What has become of an order's wish. A wish released before it was seen is a tombstone."""

    RESERVED = "reserved"
    REJECTED = "rejected"
    COMMITTED = "committed"
    RELEASED = "released"


class Reservation(Table, table=True):
    """What is held for an order. It has no end of its own: only its order ends it."""

    __tablename__ = "reservations"
    order_id: UUID = Field(primary_key=True)
    hold: Hold = Field(sa_type=String)
    lines: dict[str, int] = Field(sa_column=Column(JSONB, nullable=False))  # pieces by product id
    short: list[Any] = Field(sa_column=Column(JSONB, nullable=False))  # ids of products of which there was too little


class Return(Table, table=True):
    """Goods of an order that came back."""

    __tablename__ = "returns"
    order_id: UUID = Field(primary_key=True)
    id: UUID = Field(primary_key=True)
    lines: dict[str, int] = Field(sa_column=Column(JSONB, nullable=False))  # pieces by product id
