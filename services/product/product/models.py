"""Products, their prices and stock, what is held of it for orders, and what came back from them."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field

from chassis.tables import Table, Timestamptz


class Row(Table, registry=registry()):
    """A table of this service."""


class Product(Row, table=True):
    """What is sold, or was until it was withdrawn. `version` grows with every change."""

    __tablename__ = "products"
    __table_args__ = (
        Index("products_by_name", "name", "id"),
        Index("products_by_category", "category", "name", "id", postgresql_where=text("NOT withdrawn")),
        Index("products_per_category", "category", postgresql_where=text("NOT withdrawn")),
        Index(
            "products_full_text", text("to_tsvector('simple', (name || ' ') || description)"), postgresql_using="gin"
        ),
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


class ProductPrice(Row, table=True):
    """What a product cost from this version on. Written by a trigger on `products`, so that nobody can forget it."""

    __tablename__ = "product_prices"
    product_id: UUID = Field(primary_key=True)
    version: int = Field(primary_key=True, sa_type=BigInteger)
    price_cents: int = Field(sa_type=BigInteger)
    valid_from: datetime = Field(sa_type=Timestamptz)


class Stock(Row, table=True):
    """Pieces of a product. Those reserved are still on hand; those committed left, and of these some returned.

    Orders move pieces, but on_hand + committed - returned changes only when staff sets what is on hand.
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
    withdrawn: bool = False  # as its product, which a reservation then need not read
    low: bool = False  # and said so

    @property
    def available(self) -> int:
        """How many can be reserved now."""
        return 0 if self.withdrawn else self.on_hand - self.reserved


class ReservationState(StrEnum):
    """What has become of an order's wish. A wish released before it was seen is a tombstone."""

    RESERVED = "reserved"
    REJECTED = "rejected"
    COMMITTED = "committed"
    RELEASED = "released"


class Reservation(Row, table=True):
    """What is held for an order. It has no end of its own: only its order ends it."""

    __tablename__ = "reservations"
    order_id: UUID = Field(primary_key=True)
    state: ReservationState = Field(sa_type=String)
    lines: dict[str, int] = Field(sa_column=Column(JSONB, nullable=False))  # pieces by product id
    short_product_ids: list[Any] = Field(
        sa_column=Column(JSONB, nullable=False)
    )  # ids of products of which there was too little


class Return(Row, table=True):
    """Goods of an order that came back."""

    __tablename__ = "returns"
    order_id: UUID = Field(primary_key=True)
    id: UUID = Field(primary_key=True)
    lines: dict[str, int] = Field(sa_column=Column(JSONB, nullable=False))  # pieces by product id
