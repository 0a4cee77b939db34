"""User: accounts, credentials, addresses, tokens. System layer."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from chassis.discovery import Api, Layer
from chassis.messaging.message import Command, Event

api = Api("user", Layer.SYSTEM)

Role = Literal["customer", "staff", "operator"]

# One line of text. Lengths are those of common address forms; a mail address is at most 254 long, RFC 5321.
Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")
]
Postcode = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9 -]{1,9}$")]
Country = Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")]
Email = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, to_lower=True, max_length=254, pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+$"
    ),
]


class UserRegistered(Event, wire_type="user.user_registered.v1", key="user_id"):
    """Somebody opened an account. Carries no mail and no name: ask the user service."""

    user_id: UUID


class UserErased(Event, wire_type="user.user_erased.v1", key="user_id"):
    """Somebody's personal data is to go, everywhere. Each service that may hold some answers with ReportErasure."""

    user_id: UUID
    erasure_id: UUID


class ReportErasure(Command, wire_type="user.report_erasure.v1", key="user_id"):
    """A service says that it holds nothing personal any more, and how many rows it removed or blanked."""

    user_id: UUID
    erasure_id: UUID
    service: str
    rows: int


class RegisterAccount(BaseModel, extra="forbid"):
    """Open an account. Passwords have a length and nothing else, as NIST SP 800-63B asks."""

    email: Email
    password: str = Field(min_length=8, max_length=128)
    name: Text


class AccountView(BaseModel):
    """An account, as its owner sees it."""

    id: UUID
    email: str
    name: str
    roles: list[Role]


class SignIn(BaseModel, extra="forbid"):
    """Tokens for a mail address and a password."""

    grant_type: Literal["password"]
    email: Email
    password: str = Field(max_length=128)


class RefreshTokens(BaseModel, extra="forbid"):
    """New tokens for a refresh token, which is thereby used up."""

    grant_type: Literal["refresh_token"]
    refresh_token: str = Field(max_length=128)


class RevokeToken(BaseModel, extra="forbid"):
    """End the session that a refresh token belongs to: what RFC 7009 does, in JSON."""

    token: str = Field(max_length=128)


class SigningKeyView(BaseModel):
    """A key of access tokens: it signs from `signs_from` until its successor does, and is published from the start."""

    kid: str
    created_at: datetime
    signs_from: datetime
    retired_at: datetime | None


class TokensView(BaseModel):
    """A token to show for `expires_in` seconds, and one to get the next with."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int


class AddAddress(BaseModel, extra="forbid"):
    """An address to send things to. `country` is an ISO 3166-1 alpha-2 code."""

    name: Text
    street: Text
    postcode: Postcode
    city: Text
    country: Country


class AddressView(BaseModel):
    """Where something is sent. Read at the moment of use, never copied."""

    id: UUID
    name: str
    street: str
    postcode: str
    city: str
    country: str


class ContactView(BaseModel):
    """How to write to somebody. Read at the moment of use, never copied."""

    email: str
    name: str


class ChangePassword(BaseModel, extra="forbid"):
    """A new password; every session but the one that starts now ends."""

    password: str = Field(max_length=128)
    new_password: str = Field(min_length=8, max_length=128)


class RequestPasswordReset(BaseModel, extra="forbid"):
    """Send a mail with which a new password can be set, if there is such an account."""

    email: Email


class ResetPassword(BaseModel, extra="forbid"):
    """Set a new password with the secret from the mail."""

    secret: str = Field(max_length=128)
    new_password: str = Field(min_length=8, max_length=128)


class ResetSecretView(BaseModel):
    """The secret of a password reset, for the mail alone."""

    secret: str


class EraseAccount(BaseModel, extra="forbid"):
    """Erase me: the password once more, since it cannot be undone."""

    password: str = Field(max_length=128)


class ErasureReportView(BaseModel):
    """What one service removed or blanked."""

    service: str
    rows: int
    at: datetime


class ErasureView(BaseModel):
    """An erasure: done when every service has reported. Orders are kept, with an id that leads to nobody."""

    id: UUID
    requested_at: datetime
    completed_at: datetime | None
    reports: list[ErasureReportView]
    waiting_for: list[str]
