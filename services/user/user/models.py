"""The tables of the user service."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field

from chassis.tables import Table, Timestamptz
from contracts.user import Role


class Row(Table, registry=registry()):
    """The base of this service's tables."""


class Account(Row, table=True):
    """Somebody who can sign in. The mail address is in lower case."""

    __tablename__ = "accounts"
    id: UUID = Field(primary_key=True)
    email: str = Field(unique=True)
    name: str
    password_hash: str
    roles: list[Role] = Field(sa_column=Column(JSONB, nullable=False))
    registered_at: datetime = Field(sa_type=Timestamptz)


class Address(Row, table=True):
    """Where an account has things sent. Never changed, so that an order's address stays what it was."""

    __tablename__ = "addresses"
    id: UUID = Field(primary_key=True)
    account_id: UUID = Field(foreign_key="accounts.id", index=True)
    name: str
    street: str
    postcode: str
    city: str
    country: str


class RefreshToken(Row, table=True):
    """The SHA-256 of a refresh token. All tokens that follow from one sign-in share its session."""

    __tablename__ = "refresh_tokens"
    digest: str = Field(primary_key=True)
    account_id: UUID = Field(foreign_key="accounts.id", index=True)
    session_id: UUID = Field(index=True)
    used: bool = False
    expires_at: datetime = Field(sa_type=Timestamptz, index=True)


class SigningKey(Row, table=True):
    """An Ed25519 key pair as a JWK. The newest signs; all of them are published."""

    __tablename__ = "signing_keys"
    kid: str = Field(primary_key=True)
    jwk: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    created_at: datetime = Field(sa_type=Timestamptz)
