"""Accounts, and notes beside them."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Table, Timestamptz


class Account(Table, table=True):
    """A balance, and the numbers of the bookings that made it, in their order."""

    __tablename__ = "accounts"
    id: str = Field(primary_key=True)
    balance: int = Field(default=0, sa_type=BigInteger)
    history: list[int] = Field(sa_column=Column(JSONB, nullable=False))
    statement: str | None = None
    interest_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    statement_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    causation: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))


class Note(Table, table=True):
    """Anything that is to be remembered of an account."""

    __tablename__ = "notes"
    account: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    text: str | None = None
    data: Any = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
