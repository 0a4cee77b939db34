"""The tables of payments, attempts (requests to the provider), refunds, the ledger and reconciliation."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, Index, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Table, Timestamptz


class PaymentState(StrEnum):
    """The state of a payment. A state that ends in -ing means that the outcome of an attempt is unknown."""

    AUTHORIZING = "authorizing"
    AUTHORIZED = "authorized"
    DECLINED = "declined"
    CAPTURING = "capturing"
    CAPTURED = "captured"
    CAPTURE_REFUSED = "capture_refused"
    VOIDING = "voiding"
    VOIDED = "voided"


class AttemptKind(StrEnum):
    """What an attempt requests of the provider."""

    AUTHORIZE = "authorize"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"


class PaymentRefundState(StrEnum):
    """The state of a refund at this service."""

    AWAITING_CAPTURE = "awaiting_capture"  # the outcome of the capture is unknown
    REFUNDING = "refunding"  # the outcome of the refund is unknown
    REFUNDED = "refunded"
    REFUSED = "refused"


class LedgerAccount(StrEnum):
    """The accounts of the ledger: where the money of a payment can be.

    The balance of `customer` is negative, because that is where the money comes from.
    """

    CUSTOMER = "customer"
    HELD = "held"
    CAPTURED = "captured"
    VOIDED = "voided"
    REFUNDED = "refunded"


class Payment(Table, table=True):
    """The payment of an order. VoidPayment before AuthorizePayment leaves a tombstone: voided, with no amount."""

    __tablename__ = "payments"
    __table_args__ = (Index("ix_payments_unreconciled", "order_id", postgresql_where=text("NOT reconciled")),)
    order_id: UUID = Field(primary_key=True)
    amount_cents: int = Field(sa_type=BigInteger)
    currency: str
    state: PaymentState = Field(sa_type=String)
    reason: str | None = None
    provider_id: str | None = None
    void_pending: bool = False  # VoidPayment came while an outcome was unknown
    refund_requested_cents: int = Field(default=0, sa_type=BigInteger)  # the sum of all refunds that are not refused
    reconciled: bool = False  # the provider has confirmed the amounts since the last entry


class Attempt(Table, table=True):
    """A request to the provider, repeated with `id` as its idempotency key until the outcome is known."""

    __tablename__ = "attempts"
    __table_args__ = (Index("ix_attempts_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),)
    id: UUID = Field(primary_key=True)
    order_id: UUID = Field(foreign_key="payments.order_id", index=True)
    kind: AttemptKind = Field(sa_type=String)
    amount_cents: int = Field(sa_type=BigInteger)
    currency: str
    payment_token: str | None = None  # deleted once the outcome is known
    provider_id: str | None = None
    refund_id: UUID | None = None
    outcome: str | None = None  # None while unknown
    tries: int = 0
    due_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    causation: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))


class Refund(Table, table=True):
    """A refund of a part of a payment; each id is refunded once."""

    __tablename__ = "refunds"
    order_id: UUID = Field(primary_key=True)
    id: UUID = Field(primary_key=True)
    amount_cents: int = Field(sa_type=BigInteger)
    state: PaymentRefundState = Field(sa_type=String)
    reason: str | None = None


class LedgerEntry(Table, table=True):
    """A movement of money from the account `credit` to the account `debit`. A trigger refuses changes and deletions."""

    __tablename__ = "ledger_entries"
    id: UUID = Field(primary_key=True)
    order_id: UUID = Field(foreign_key="payments.order_id", index=True)
    at: datetime = Field(sa_type=Timestamptz)
    debit: LedgerAccount = Field(sa_type=String)
    credit: LedgerAccount = Field(sa_type=String)
    amount_cents: int = Field(sa_type=BigInteger)


class Balance(Table, table=True):
    """The balance of an account up to the entry `closed_id`, so that totals need not add up all entries."""

    __tablename__ = "balances"
    account: LedgerAccount = Field(primary_key=True, sa_type=String)
    cents: int = Field(sa_type=BigInteger)
    closed_id: UUID


class Reconciliation(Table, table=True):
    """How far the provider's list of changes was compared with the ledger: one row."""

    __tablename__ = "reconciliations"
    id: int = Field(primary_key=True)
    position: int = Field(sa_type=BigInteger)
    at: datetime = Field(sa_type=Timestamptz)


class DiscrepancyKind(StrEnum):
    """How the provider and the ledger differ.

    `unsettled`: an attempt's outcome is unknown. `unknown`: the provider has a payment that is unknown here. `differs`:
    the amounts are different.
    """

    UNSETTLED = "unsettled"  # the outcome of an attempt is unknown; the attempt is repeated
    UNKNOWN = "unknown"  # the provider has money of a payment that is unknown here
    DIFFERS = "differs"  # the provider has other amounts than the ledger


class Discrepancy(Table, table=True):
    """A payment whose amounts at the provider and in the ledger differ. The row is deleted once they agree."""

    __tablename__ = "discrepancies"
    provider_id: str = Field(primary_key=True)
    reference: str  # the order's id, if it is one of ours
    kind: DiscrepancyKind = Field(sa_type=String)
    found_at: datetime = Field(sa_type=Timestamptz)
    our_held_cents: int = Field(sa_type=BigInteger)
    our_captured_cents: int = Field(sa_type=BigInteger)
    their_held_cents: int = Field(sa_type=BigInteger)
    their_captured_cents: int = Field(sa_type=BigInteger)
