"""Aggregator: the public API of the shop, and the staff's view of a day. Experience layer: no commands, no events."""

from datetime import date, datetime
from uuid import UUID

from pydantic import BaseModel, Field

from chassis.calls import Api, Layer
from contracts.order import OrderReason, OrderStatus, OrderVersion, OrderView
from contracts.product import Cents, Currency, ProductView

api = Api("aggregator", Layer.EXPERIENCE)


class ProductDetail(ProductView):
    """A product and its stock."""

    available: int | None = Field(description="Pieces that can be ordered now; null when unknown.", examples=[12])
    partial: list[str] = Field(description="Fields whose value could not be found out: `available`.", examples=[[]])


class OrderStep(BaseModel):
    """A change of an order: what it became, when and why."""

    version: OrderVersion
    status: OrderStatus = Field(description="The status from this step on.", examples=["confirmed"])
    reason: OrderReason | None
    changed_at: datetime


class OrderDetail(OrderView):
    """An order with its steps."""

    steps: list[OrderStep] = Field(description="Every step so far, the oldest first.")
    partial: list[str] = Field(
        description="`status` when a newer version exists that could not be read.", examples=[[], ["status"]]
    )


class OrderUpdate(BaseModel):
    """The data of an event in the stream of an order."""

    step: OrderStep
    order: OrderView = Field(description="The order as it is now, which may be later than the step.")


class DashboardEntry(BaseModel):
    """An order of the day, in the state of now."""

    order_id: UUID
    version: OrderVersion
    status: OrderStatus
    total_cents: Cents
    refunded_cents: Cents
    placed_at: datetime


class DashboardTotals(BaseModel):
    """Totals of all orders of the day."""

    orders: int = Field(description="How many orders were placed.", examples=[120])
    by_status: dict[OrderStatus, int] = Field(
        description="How many of them are in each status now; statuses without any are left out.",
        examples=[{"shipped": 80, "delivered": 37, "cancelled": 3}],
    )
    revenue_cents: int = Field(
        description="Totals of the orders that are shipped or delivered, less what was refunded, in minor units.",
        examples=[239_880],
    )
    open_shipments: int = Field(
        description="Parcels that have to leave or are on their way: orders confirmed, withdrawing or shipped.",
        examples=[80],
    )


class DashboardView(BaseModel):
    """A day of the shop, in UTC. Totals and entries are of one moment."""

    day: date = Field(description="The day on which the orders were placed.", examples=["2026-01-31"])
    position: int = Field(
        description="The sum of the versions of the day's orders, which only grows: of two views of a day, the one with"
        " the higher position is newer.",
        examples=[433],
    )
    currency: Currency
    totals: DashboardTotals
    entries: list[DashboardEntry] = Field(description="A page of the day's orders, the newest first.")
    next_cursor: str | None = Field(description="Pass it as `cursor` to get the next page; null on the last page.")


class RebuildView(BaseModel):
    """The progress of a rebuild of the read models."""

    generation: int = Field(description="The number of the new generation.", examples=[2])
    stage: str = Field(
        description="products, orders, old_products, old_orders, done. From old_products on the new generation is"
        " active, and old rows are deleted.",
        examples=["orders"],
    )
    products: int = Field(description="Products copied so far.", examples=[1000])
    orders: int = Field(description="Orders copied so far.", examples=[5200])
    removed: int = Field(description="Old rows deleted so far.", examples=[0])
    started_at: datetime
    completed_at: datetime | None
