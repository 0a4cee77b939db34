"""User: accounts, credentials, addresses, tokens. System layer."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from chassis.calls import Api, Layer
from chassis.message import ONE_LINE, Command, Event

api = Api("user", Layer.SYSTEM)

Role = Literal["customer", "staff", "operator"]

# One line of text. Lengths are those of common address forms; a mail address has at most 254 characters: RFC 5321.
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=ONE_LINE)]
PersonName = Annotated[Text, Field(description="The full name of a person.", examples=["Ada Lovelace"])]
Street = Annotated[Text, Field(description="The street with the house number.", examples=["1 Main Street"])]
City = Annotated[Text, Field(examples=["Berlin"])]
Postcode = Annotated[
    str,
    StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9 -]{1,9}$"),
    Field(description="The postal code, as the country writes it.", examples=["10115"]),
]
Country = Annotated[
    str, StringConstraints(pattern="^[A-Z]{2}$"), Field(description="An ISO 3166-1 alpha-2 code.", examples=["DE"])
]
Email = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        to_lower=True,
        max_length=254,
        pattern=r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+$",
    ),
    Field(description="A mail address. It is kept in lower case.", examples=["ada@example.org"]),
]
# A password has a length and no other rule, as NIST SP 800-63B asks.
NewPassword = Annotated[
    str,
    Field(min_length=8, max_length=128, description="Any 8 to 128 characters.", examples=["correct horse battery"]),
]
CurrentPassword = Annotated[
    str, Field(max_length=128, description="The current password.", examples=["correct horse battery"])
]
OpaqueToken = Annotated[
    str, Field(max_length=128, description="The refresh token of the session.", examples=["gA6nVx0q3lT8"])
]


class UserRegistered(Event, wire_type="user.user_registered.v1", key="user_id"):
    """A person opened an account. The event carries no personal data: ask the user service for it.

    No service of this repository reads this event: a fork can welcome new customers with it.
    """

    user_id: UUID


class UserErased(Event, wire_type="user.user_erased.v1", key="user_id"):
    """A person asked to be erased: every service that may hold personal data removes it and answers with ReportErasure.

    Sent again every day while a service has not reported.
    """

    user_id: UUID
    erasure_id: UUID = Field(description="The erasure that the report belongs to.")


class ReportErasure(Command, wire_type="user.report_erasure.v1", key="user_id"):
    """A service reports that it holds no personal data of the person any more. It is the answer to UserErased."""

    user_id: UUID
    erasure_id: UUID = Field(description="The id from UserErased.")
    service: str = Field(description="The name of the service that reports.", examples=["order"])
    rows: int = Field(description="The number of rows that the service removed or anonymised.", examples=[2])


class RegisterAccount(BaseModel, extra="forbid"):
    """A new account."""

    email: Email
    password: NewPassword
    name: PersonName


class AccountView(BaseModel):
    """An account, as its owner sees it."""

    id: UUID
    email: str = Field(examples=["ada@example.org"])
    name: str = Field(examples=["Ada Lovelace"])
    roles: list[Role] = Field(description="What the account may do. Tokens carry the roles.", examples=[["customer"]])


class AccountRole(BaseModel, extra="forbid"):
    """A role that the account with this mail address is to have, or to have no more."""

    email: Email
    role: Role


class SignIn(BaseModel, extra="forbid"):
    """A mail address and a password, in exchange for tokens."""

    grant_type: Literal["password"]
    email: Email
    password: CurrentPassword


class RefreshTokens(BaseModel, extra="forbid"):
    """A refresh token, in exchange for new tokens. A refresh token can be used once."""

    grant_type: Literal["refresh_token"]
    refresh_token: OpaqueToken


class RevokeToken(BaseModel, extra="forbid"):
    """The refresh token of the session that ends: the revocation of RFC 7009, as JSON."""

    token: OpaqueToken


class SigningKeyView(BaseModel):
    """A key that signs access tokens."""

    kid: str = Field(description="The key id, as in the header of a token.", examples=["pXx1C1a9mY8"])
    created_at: datetime = Field(description="The key is published from this moment on.")
    signs_from: datetime = Field(description="The key signs from this moment on.")
    retired_at: datetime | None = Field(description="When its successor signs; null for the newest key.")


class TokensView(BaseModel):
    """An access token and a refresh token of one session."""

    access_token: str = Field(
        description="A JWT. Send it in the header `Authorization: Bearer`.", examples=["eyJhbGciOi.eyJpc3Mi.c2lnbmF0"]
    )
    refresh_token: str = Field(description="Exchange it once for the next tokens.", examples=["gA6nVx0q3lT8"])
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int = Field(description="The life of the access token in seconds.", examples=[900])


class AddAddress(BaseModel, extra="forbid"):
    """A postal address."""

    name: PersonName
    street: Street
    postcode: Postcode
    city: City
    country: Country


class AddressView(BaseModel):
    """A postal address. Services read it when they need it and never copy it."""

    id: UUID
    name: str = Field(examples=["Ada Lovelace"])
    street: str = Field(examples=["1 Main Street"])
    postcode: str = Field(examples=["10115"])
    city: str = Field(examples=["Berlin"])
    country: str = Field(description="An ISO 3166-1 alpha-2 code.", examples=["DE"])


class ContactView(BaseModel):
    """How to write to the owner of an account. Services read it when they need it and never copy it."""

    email: str = Field(examples=["ada@example.org"])
    name: str = Field(examples=["Ada Lovelace"])


class ChangePassword(BaseModel, extra="forbid"):
    """The current password and a new one."""

    password: CurrentPassword
    new_password: NewPassword


class RequestPasswordReset(BaseModel, extra="forbid"):
    """The mail address of the account whose password is forgotten."""

    email: Email


class ResetPassword(BaseModel, extra="forbid"):
    """A new password, with the secret from the mail."""

    secret: str = Field(max_length=128, description="The secret from the mail.", examples=["AZPd9dGvc5qA"])
    new_password: NewPassword


class ResetSecretView(BaseModel):
    """The secret of a password reset. It belongs into the mail and nowhere else."""

    secret: str = Field(description="The end of the link in the mail.", examples=["AZPd9dGvc5qA"])


class EraseAccount(BaseModel, extra="forbid"):
    """The password once more, because an erasure cannot be undone."""

    password: CurrentPassword


class ErasureReportView(BaseModel):
    """What one service removed."""

    service: str = Field(description="The name of the service.", examples=["order"])
    rows: int = Field(description="The number of rows that were removed or anonymised.", examples=[2])
    at: datetime = Field(description="When the service reported.")


class ErasureView(BaseModel):
    """The erasure of a person. Orders are kept, under an id that leads to no person any more."""

    id: UUID = Field(description="The only way to this report: the account no longer exists.")
    requested_at: datetime
    completed_at: datetime | None = Field(description="When the last service reported; null until then.")
    reports: list[ErasureReportView] = Field(description="One from each service that is done.")
    waiting_for: list[str] = Field(description="The services that have not reported yet.", examples=[["order"]])
