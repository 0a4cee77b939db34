"""Mails and what has become of them, and what people want. No name and no address: they are asked for when needed."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, Index, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Table, Timestamptz
from contracts.notification import Template


class MailState(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    DROPPED = "dropped"


class Mail(Table, table=True):
    """One mail, to be sent once for its cause. Its Message-ID follows from its id, so readers know a double.

    `due_at` is the next attempt, or the end of the lease of the worker that has it in hand.
    """

    __tablename__ = "mails"
    __table_args__ = (
        UniqueConstraint("cause_id", "user_id", "template", name="mails_cause"),
        Index("ix_mails_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )
    id: UUID = Field(primary_key=True)
    user_id: UUID = Field(index=True)
    cause_id: UUID
    template: Template = Field(sa_type=String)
    about: UUID | None = None
    amount_cents: int | None = Field(default=None, sa_type=BigInteger)
    currency: str | None = None
    reason: str | None = None
    state: MailState = Field(default=MailState.PENDING, sa_type=String)
    dropped_for: str | None = None
    tries: int = Field(default=0, sa_type=BigInteger)  # that the mail server put off
    due_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    asked_at: datetime = Field(sa_type=Timestamptz, index=True)
    ended_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    causation: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))


class Preference(Table, table=True):
    """What somebody wants who has said so."""

    __tablename__ = "preferences"
    user_id: UUID = Field(primary_key=True)
    advertising: bool
