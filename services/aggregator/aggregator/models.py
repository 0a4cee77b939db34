"""Tables: the read models (CQRS) of products and orders, in one or two generations, and the rebuilds of them."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, Index, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Table, Timestamptz
from contracts.order import OrderStatus


class GenerationState(StrEnum):
    """Whether queries read a generation of the read models."""

    ACTIVE = "active"  # queries read it
    BUILDING = "building"  # a rebuild fills it; it becomes active when it is complete


class Generation(Table, table=True):
    """A set of the read models. Events are written into every generation, queries read the active one."""

    __tablename__ = "generations"
    id: int = Field(primary_key=True, sa_type=BigInteger)
    state: GenerationState = Field(sa_type=String)


class ProductReadModel(Table, table=True):
    """A product, in the state of its newest event. A withdrawn one stays, so that an older event cannot restore it."""

    __tablename__ = "products"
    __table_args__ = (
        Index("products_by_name", "name", "id"),
        Index("products_by_category", "category", "name", "id"),
        Index("products_by_words", text("to_tsvector('simple', (name || ' ') || description)"), postgresql_using="gin"),
    )
    id: UUID = Field(primary_key=True)
    generation: int = Field(primary_key=True, sa_type=BigInteger)
    version: int = Field(sa_type=BigInteger)
    name: str
    description: str
    category: str
    price_cents: int = Field(sa_type=BigInteger)
    currency: str
    weight_grams: int = Field(sa_type=BigInteger)
    withdrawn: bool


class OrderReadModel(Table, table=True):
    """An order, in the state of its newest event, with all its steps so far."""

    __tablename__ = "orders"
    __table_args__ = (
        Index("orders_of_customer", "customer_id", "order_id"),
        Index("orders_of_day", "placed_at", "order_id"),
    )
    order_id: UUID = Field(primary_key=True)
    generation: int = Field(primary_key=True, sa_type=BigInteger)
    version: int = Field(sa_type=BigInteger)
    status: OrderStatus = Field(sa_type=String)
    reason: str | None
    customer_id: UUID
    lines: list[Any] = Field(sa_column=Column(JSONB, nullable=False))  # contracts.order.OrderLine
    shipping_cents: int = Field(sa_type=BigInteger)
    total_cents: int = Field(sa_type=BigInteger)
    refunded_cents: int = Field(sa_type=BigInteger)
    currency: str
    placed_at: datetime = Field(sa_type=Timestamptz)
    changed_at: datetime = Field(sa_type=Timestamptz)
    steps: list[Any] = Field(default=[], sa_column=Column(JSONB, nullable=False))  # contracts.aggregator.OrderStep


class RebuildStage(StrEnum):
    """How far a rebuild has come."""

    PRODUCTS = "products"
    ORDERS = "orders"
    OLD_PRODUCTS = "old_products"  # from here on the new generation is active, and the old one is deleted
    OLD_ORDERS = "old_orders"
    DONE = "done"


class Rebuild(Table, table=True):
    """A rebuild of the read models, and its progress: another process continues it when the one that runs it dies."""

    __tablename__ = "rebuilds"
    __table_args__ = (Index("rebuilds_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),)
    generation: int = Field(primary_key=True, sa_type=BigInteger)
    stage: RebuildStage = Field(default=RebuildStage.PRODUCTS, sa_type=String)
    cursor: str | None = None
    products: int = Field(default=0, sa_type=BigInteger)
    orders: int = Field(default=0, sa_type=BigInteger)
    removed: int = Field(default=0, sa_type=BigInteger)
    started_at: datetime = Field(sa_type=Timestamptz)
    completed_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    due_at: datetime | None = Field(default=None, sa_type=Timestamptz)
