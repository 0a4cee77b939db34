"""Aggregator: what the web shop and its merchant are shown. Experience layer: it obeys nobody and announces nothing."""

from datetime import date, datetime
from uuid import UUID

from pydantic import BaseModel

from chassis.calls import Api, Layer
from contracts.order import OrderStatus, OrderView
from contracts.product import Currency, ProductView

api = Api("aggregator", Layer.EXPERIENCE)


class ProductDetail(ProductView):
    """A product and how many pieces can be had now. `partial` names what could not be found out."""

    available: int | None
    partial: list[str]


class OrderStep(BaseModel):
    """One move of an order."""

    version: int
    status: OrderStatus
    reason: str | None
    changed_at: datetime


class OrderDetail(OrderView):
    """An order and its moves. `partial` names `status` when the newest one could not be found out."""

    steps: list[OrderStep]
    partial: list[str]


class OrderUpdate(BaseModel):
    """An event of a stream: a move, and the order as it stands by now, which may be further."""

    step: OrderStep
    order: OrderView


class DashboardEntry(BaseModel):
    """An order of the day."""

    order_id: UUID
    version: int
    status: OrderStatus
    total_cents: int
    refunded_cents: int
    placed_at: datetime


class DashboardTotals(BaseModel):
    """The fold of the day's entries. Revenue is of what was shipped or delivered, without what went back.

    Open shipments are parcels that are to leave, or are on their way.
    """

    orders: int
    by_status: dict[OrderStatus, int]
    revenue_cents: int
    open_shipments: int


class DashboardView(BaseModel):
    """A day of the shop, in UTC. Totals and entries are of one moment.

    `position` counts the moves that had been seen of the day's orders, the sum of their versions: it only grows.
    """

    day: date
    position: int
    currency: Currency
    totals: DashboardTotals
    entries: list[DashboardEntry]
    next_cursor: str | None


class RebuildView(BaseModel):
    """How far the read models are with being built anew: products, orders, old_products, old_orders, done.

    From old_products on the new ones are shown, and the old ones are removed.
    """

    generation: int
    stage: str
    products: int
    orders: int
    removed: int
    started_at: datetime
    done_at: datetime | None
