"""What is held for an order, each request that was made to the provider about it, and the books."""

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
    REFUND = "refund"


class PaymentRefundState(StrEnum):
    AWAITING_CAPTURE = "awaiting_capture"  # waits for the outcome of the capture
    REFUNDING = "refunding"  # the outcome of its attempt is unknown
    REFUNDED = "refunded"
    REFUSED = "refused"


class LedgerAccount(StrEnum):
    """Where the money of a payment can be. What is with the customer is negative: it left there."""

    CUSTOMER = "customer"
    HELD = "held"
    CAPTURED = "captured"
    VOIDED = "voided"
    REFUNDED = "refunded"


class Payment(Row, table=True):
    """The payment of an order. One that was voided before it was asked for is a tombstone: voided, of nothing."""

    __tablename__ = "payments"
    __table_args__ = (Index("ix_payments_unreconciled", "order_id", postgresql_where=text("NOT reconciled")),)
    order_id: UUID = Field(primary_key=True)
    amount_cents: int = Field(sa_type=BigInteger)
    currency: str
    state: PaymentState = Field(sa_type=String)
    reason: str | None = None
    provider_id: str | None = None
    void_pending: bool = False  # VoidPayment came while an outcome is unknown
    refund_requested_cents: int = Field(default=0, sa_type=BigInteger)  # the sum of all refunds that are not refused
    reconciled: bool = False  # the provider says the same since money moved last


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
    refund_id: UUID | None = None
    outcome: str | None = None  # None: unknown
    tries: int = 0
    due_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    cause: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))


class Refund(Row, table=True):
    """A part of a payment that is to be given back, once per id."""

    __tablename__ = "refunds"
    order_id: UUID = Field(primary_key=True)
    id: UUID = Field(primary_key=True)
    amount_cents: int = Field(sa_type=BigInteger)
    state: PaymentRefundState = Field(sa_type=String)
    reason: str | None = None


class LedgerEntry(Row, table=True):
    """A movement of money, from the account `credit` to the account `debit`. Never changed, never removed."""

    __tablename__ = "ledger_entries"
    id: UUID = Field(primary_key=True)
    order_id: UUID = Field(foreign_key="payments.order_id", index=True)
    at: datetime = Field(sa_type=Timestamptz)
    debit: LedgerAccount = Field(sa_type=String)
    credit: LedgerAccount = Field(sa_type=String)
    amount_cents: int = Field(sa_type=BigInteger)


class Balance(Row, table=True):
    """What the entries up to `closed_id` come to, so that nobody has to add them up again."""

    __tablename__ = "balances"
    account: LedgerAccount = Field(primary_key=True, sa_type=String)
    cents: int = Field(sa_type=BigInteger)
    closed_id: UUID


class Reconciliation(Row, table=True):
    """How far the provider's list of changes was compared with the books; one row."""

    __tablename__ = "reconciliations"
    id: int = Field(primary_key=True)
    position: int = Field(sa_type=BigInteger)
    at: datetime = Field(sa_type=Timestamptz)


class DiscrepancyKind(StrEnum):
    UNSETTLED = "unsettled"  # the outcome of an attempt is unknown, it is asked for again
    UNKNOWN = "unknown"  # the provider has money of a payment that we do not know
    DIFFERS = "differs"  # the provider has another amount than our books


class Discrepancy(Row, table=True):
    """A payment at the provider where it and our books do not agree; removed when they do."""

    __tablename__ = "discrepancies"
    provider_id: str = Field(primary_key=True)
    reference: str  # the order's id, if it is one of ours
    kind: DiscrepancyKind = Field(sa_type=String)
    found_at: datetime = Field(sa_type=Timestamptz)
    our_held_cents: int = Field(sa_type=BigInteger)
    our_captured_cents: int = Field(sa_type=BigInteger)
    their_held_cents: int = Field(sa_type=BigInteger)
    their_captured_cents: int = Field(sa_type=BigInteger)
