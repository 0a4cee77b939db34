"""What is sent for an order, and what the carrier said of it.

Nothing here is personal: the address is asked for when the carrier is, and its id leads nowhere once it is erased.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Index, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field

from chassis.tables import Table, Timestamptz


class Row(Table, registry=registry()):
    """The base of this service's tables."""


class ShipmentState(StrEnum):
    """What we know of the parcel. While it ends in -ing, the outcome of a call to the carrier is unknown."""

    CREATING = "creating"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    DISPATCHED = "dispatched"
    DELIVERED = "delivered"
    LOST = "lost"


DEPARTED = (ShipmentState.DISPATCHED, ShipmentState.DELIVERED, ShipmentState.LOST)
STOPPED = (ShipmentState.REJECTED, ShipmentState.CANCELLED)
ENDED = (*STOPPED, ShipmentState.DELIVERED, ShipmentState.LOST)
AWAITING_CARRIER = (ShipmentState.CREATING, ShipmentState.CANCELLING)


class Shipment(Row, table=True):
    """The shipment of an order. One that was cancelled before it was asked for is a tombstone: cancelled, of nothing.

    It is its own attempt: `state` says what is to be asked of the carrier at `due_at`, with the order's id as
    idempotency key, until the answer is known.
    """

    __tablename__ = "shipments"
    __table_args__ = (Index("ix_shipments_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),)
    order_id: UUID = Field(primary_key=True)
    address_id: UUID | None = None
    lines: list[dict[str, Any]] = Field(sa_column=Column(JSONB, nullable=False))  # contracts.product.Line
    state: ShipmentState = Field(sa_type=String)
    reason: str | None = None
    carrier_id: str | None = None
    tracking_code: str | None = None
    cancel_pending: bool = False  # CancelShipment came while it is unknown whether the carrier has the parcel
    updates: list[dict[str, Any]] = Field(default=[], sa_column=Column(JSONB, nullable=False))  # status, at, place
    tries: int = 0
    due_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    cause: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
