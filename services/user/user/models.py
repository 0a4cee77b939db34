"""The tables of the user service."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Table, Timestamptz
from contracts.user import Role


class Account(Table, table=True):
    """A person who can sign in. The mail address is in lower case."""

    __tablename__ = "accounts"
    id: UUID = Field(primary_key=True)
    email: str = Field(unique=True)
    name: str
    password_hash: str
    roles: list[Role] = Field(sa_column=Column(JSONB, nullable=False))
    registered_at: datetime = Field(sa_type=Timestamptz)


class Address(Table, table=True):
    """A postal address of an account. A row never changes, so that the address of an order stays what it was."""

    __tablename__ = "addresses"
    id: UUID = Field(primary_key=True)
    account_id: UUID = Field(foreign_key="accounts.id", index=True)
    name: str
    street: str
    postcode: str
    city: str
    country: str


class RefreshToken(Table, table=True):
    """The SHA-256 of a refresh token. The tokens that follow from one sign-in share a session."""

    __tablename__ = "refresh_tokens"
    digest: str = Field(primary_key=True)
    account_id: UUID = Field(foreign_key="accounts.id", index=True)
    session_id: UUID = Field(index=True)
    used: bool = False
    expires_at: datetime = Field(sa_type=Timestamptz, index=True)


class PasswordReset(Table, table=True):
    """A requested password reset. Its secret is derived from its id.

    Without an account, the request was for an unknown mail address or over the limit, and no mail was sent.
    """

    __tablename__ = "password_resets"
    id: UUID = Field(primary_key=True)
    account_id: UUID | None = Field(foreign_key="accounts.id", index=True)
    used: bool = False
    expires_at: datetime = Field(sa_type=Timestamptz, index=True)


class LoginThrottle(Table, table=True):
    """The number of wrong passwords for a mail address, which need not have an account, until the window ends."""

    __tablename__ = "login_throttles"
    email_digest: str = Field(primary_key=True)
    failures: int
    window_ends_at: datetime = Field(sa_type=Timestamptz, index=True)


class SigningKey(Table, table=True):
    """An Ed25519 key pair as a JWK. The public half is published as long as the row exists.

    The newest key whose `signs_from` has passed signs. `retired_at` and `published_until` are set when a successor is
    made.
    """

    __tablename__ = "signing_keys"
    kid: str = Field(primary_key=True)
    jwk: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    created_at: datetime = Field(sa_type=Timestamptz)
    signs_from: datetime = Field(sa_type=Timestamptz)
    rotates_at: datetime | None = Field(sa_type=Timestamptz)
    retired_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    published_until: datetime | None = Field(default=None, sa_type=Timestamptz)


class Erasure(Table, table=True):
    """The erasure of a person. `user_id` leads to no account any more; `reports` are ErasureReportViews as JSON."""

    __tablename__ = "erasures"
    __table_args__ = (Index("ix_erasures_open", "requested_at", postgresql_where=text("completed_at IS NULL")),)
    id: UUID = Field(primary_key=True)
    user_id: UUID = Field(unique=True)
    requested_at: datetime = Field(sa_type=Timestamptz)
    completed_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    waiting_for: list[str] = Field(sa_column=Column(JSONB, nullable=False))
    reports: list[dict[str, Any]] = Field(sa_column=Column(JSONB, nullable=False))
    due_at: datetime = Field(sa_type=Timestamptz, index=True)
