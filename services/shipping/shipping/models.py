"""The table of shipments.

It holds no personal data: the address is read from the user service when the parcel is sent, and only its id is kept.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Index, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Table, Timestamptz


class ShipmentState(StrEnum):
    """The state of a shipment. A state that ends in -ing means that the answer of the carrier is unknown."""

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


class Shipment(Table, table=True):
    """The shipment of an order. CancelShipment before CreateShipment leaves a tombstone: cancelled, without lines.

    `state` says what is requested of the carrier at `due_at`, with the order's id as idempotency key, until the answer
    is known.
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
    cancel_pending: bool = False  # CancelShipment came while the answer to our create call was unknown
    updates: list[dict[str, Any]] = Field(default=[], sa_column=Column(JSONB, nullable=False))  # status, at, place
    tries: int = 0
    due_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    causation: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
