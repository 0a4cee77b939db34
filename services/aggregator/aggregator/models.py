"""Read models: copies of products and orders, each with the version that it shows."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, Index, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field

from chassis.tables import Table, Timestamptz
from contracts.order import OrderStatus


class Row(Table, registry=registry()):
    """A table of this service."""


class Product(Row, table=True):
    """A product, as its owner last announced it."""

    __tablename__ = "products"
    __table_args__ = (
        Index("products_by_name", "name", "id"),
        Index("products_by_category", "category", "name", "id"),
        Index("products_by_words", text("to_tsvector('simple', (name || ' ') || description)"), postgresql_using="gin"),
    )
    id: UUID = Field(primary_key=True)
    version: int = Field(sa_type=BigInteger)
    name: str
    description: str
    category: str
    price_cents: int = Field(sa_type=BigInteger)
    currency: str


class Order(Row, table=True):
    """An order, as its owner last announced it."""

    __tablename__ = "orders"
    __table_args__ = (Index("orders_of_customer", "customer_id", "order_id"),)
    order_id: UUID = Field(primary_key=True)
    version: int = Field(sa_type=BigInteger)
    status: OrderStatus = Field(sa_type=String)
    reason: str | None
    customer_id: UUID
    lines: list[Any] = Field(sa_column=Column(JSONB, nullable=False))  # contracts.order.OrderLine
    shipping_cents: int = Field(sa_type=BigInteger)
    total_cents: int = Field(sa_type=BigInteger)
    currency: str
    placed_at: datetime = Field(sa_type=Timestamptz)
