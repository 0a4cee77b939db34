"""What is held for an order, and each request that was made to the provider about it."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, Index, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field

from chassis.tables import Table, Timestamptz


class Row(Table, registry=registry()):
    """The base of this service's tables."""


class PaymentState(StrEnum):
    """What we know of the money. While it ends in -ing, the outcome of one attempt is unknown."""

    AUTHORIZING = "authorizing"
    AUTHORIZED = "authorized"
    DECLINED = "declined"
    CAPTURING = "capturing"
    CAPTURED = "captured"
    CAPTURE_REFUSED = "capture_refused"
    VOIDING = "voiding"
    VOIDED = "voided"


class AttemptKind(StrEnum):
    AUTHORIZE = "authorize"
    CAPTURE = "capture"
    VOID = "void"


class Payment(Row, table=True):
    """The payment of an order. One that was voided before it was asked for is a tombstone: voided, of nothing."""

    __tablename__ = "payments"
    order_id: UUID = Field(primary_key=True)
    amount_cents: int = Field(sa_type=BigInteger)
    currency: str
    state: PaymentState = Field(sa_type=String)
    reason: str | None = None
    provider_id: str | None = None
    void_waits: bool = False  # VoidPayment came while an outcome is unknown


class Attempt(Row, table=True):
    """A request to the provider. It is made with `id` as its idempotency key until its outcome is known."""

    __tablename__ = "attempts"
    __table_args__ = (Index("ix_attempts_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),)
    id: UUID = Field(primary_key=True)
    order_id: UUID = Field(foreign_key="payments.order_id", index=True)
    kind: AttemptKind = Field(sa_type=String)
    amount_cents: int = Field(sa_type=BigInteger)
    currency: str
    payment_token: str | None = None  # forgotten with the outcome
    provider_id: str | None = None
    outcome: str | None = None  # None: unknown
    tries: int = 0
    due_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    cause: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
