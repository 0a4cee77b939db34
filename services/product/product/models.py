"""Products, their stock, and what is held of it for orders."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field

from chassis.tables import Table


class Row(Table, registry=registry()):
    """A table of this service."""


class Product(Row, table=True):
    """What is sold. `version` grows with every change."""

    __tablename__ = "products"
    __table_args__ = (
        Index("products_by_name", "name", "id"),
        Index("products_by_category", "category", "name", "id"),
        Index("products_by_words", text("to_tsvector('simple', (name || ' ') || description)"), postgresql_using="gin"),
    )
    id: UUID = Field(primary_key=True)
    version: int = Field(default=1, sa_type=BigInteger)
    name: str
    description: str
    category: str
    price_cents: int = Field(sa_type=BigInteger)
    currency: str


class Stock(Row, table=True):
    """Pieces of a product. Those reserved are still on hand; those committed are not any more."""

    __tablename__ = "stock"
    __table_args__ = (CheckConstraint("0 <= reserved AND reserved <= on_hand", name="stock_is_never_oversold"),)
    product_id: UUID = Field(primary_key=True, foreign_key="products.id")
    on_hand: int = Field(sa_type=BigInteger)
    reserved: int = Field(default=0, sa_type=BigInteger)
    committed: int = Field(default=0, sa_type=BigInteger)

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved


class Hold(StrEnum):
    """What has become of an order's wish. A wish released before it was seen is a tombstone."""

    RESERVED = "reserved"
    REJECTED = "rejected"
    COMMITTED = "committed"
    RELEASED = "released"


class Reservation(Row, table=True):
    """What is held for an order. It has no end of its own: only its order ends it."""

    __tablename__ = "reservations"
    order_id: UUID = Field(primary_key=True)
    hold: Hold = Field(sa_type=String)
    lines: dict[str, int] = Field(sa_column=Column(JSONB, nullable=False))  # pieces by product id
    short: list[Any] = Field(sa_column=Column(JSONB, nullable=False))  # ids of products of which there was too little
