"""Tables: queued and finished mails, and what their recipients want to receive.

No name and no mail address is stored here: the user service is asked for them at the moment of sending.
"""

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
    """Whether a mail still has to be sent."""

    PENDING = "pending"
    SENT = "sent"  # the mail server has accepted it
    DROPPED = "dropped"  # it will never be sent; `drop_reason` says why


class Mail(Table, table=True):
    """One mail, which is sent once for its cause. Its Message-ID contains its id, so a duplicate can be detected.

    `due_at` is the time of the next try or, while a worker is sending the mail, the end of that worker's lease.
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
    drop_reason: str | None = None
    deferrals: int = Field(default=0, sa_type=BigInteger)  # tries after which it was deferred
    due_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    requested_at: datetime = Field(sa_type=Timestamptz, index=True)
    finished_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    causation: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))


class Preference(Table, table=True):
    """What a user wants to receive. A user who has never changed anything has no row."""

    __tablename__ = "preferences"
    user_id: UUID = Field(primary_key=True)
    advertising: bool
