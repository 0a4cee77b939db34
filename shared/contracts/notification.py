"""Notification: mails to people, their templates and preferences. System layer."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from chassis.calls import Api, Layer
from chassis.message import Command, Event

api = Api("notification", Layer.SYSTEM)

Advertising = Annotated[
    bool,
    Field(
        strict=True,
        description="Whether the user wants advertising, such as requests for a review. Mails about the account and its"
        " orders are sent in any case.",
        examples=[False],
    ),
]

UnsubscribeToken = Annotated[
    str,
    Field(
        max_length=500,
        description="The token at the end of the unsubscribe link in a mail.",
        examples=["eyJhbGciOiJIUzI1NiJ9"],
    ),
]
CauseId = Annotated[
    UUID,
    Field(description="What caused the mail. A repeated command with this id, user and template sends no second mail."),
]


class Template(StrEnum):
    """What a mail is about."""

    WELCOME = "welcome"
    PASSWORD_RESET = "password_reset"  # `about` is the id of the reset; its secret is read from the user service
    ORDER_CONFIRMED = "order_confirmed"
    ORDER_CANCELLED = "order_cancelled"
    ORDER_SHIPPED = "order_shipped"
    ORDER_UNDELIVERED = "order_undelivered"
    ORDER_REFUNDED = "order_refunded"
    REVIEW_ASKED = "review_asked"  # advertising: dropped for users who have opted out


class Notify(Command, wire_type="notification.notify.v1", key="user_id"):
    """Send a user one mail per `cause_id` and template. Answered by NotificationSent or NotificationDropped.

    The mail address is not part of the command: it is read from the user service when the mail is sent.
    """

    user_id: UUID
    cause_id: CauseId
    template: Template
    about: UUID | None = Field(None, description="The order, or the password reset, that the mail shows.")
    amount_cents: int | None = Field(None, description="In minor units of `currency`.")
    currency: str | None = None
    reason: str | None = Field(None, description="Why the order was cancelled, as its owner says it: out_of_stock, …")


class NotificationSent(Event, wire_type="notification.notification_sent.v1", key="user_id"):
    """The mail server has accepted the mail."""

    user_id: UUID
    cause_id: CauseId
    template: str  # a Template, perhaps one that the consumer does not know yet


class NotificationDropped(Event, wire_type="notification.notification_dropped.v1", key="user_id"):
    """The mail will never be sent, for a `reason`."""

    user_id: UUID
    cause_id: CauseId
    template: str
    reason: str = Field(
        description="account_gone, address_undeliverable, password_reset_expired, unsubscribed, connection_lost,"
        " rendering_failed, or smtp_ with the reply code of the mail server: smtp_550."
    )


class PreferencesView(BaseModel):
    """Which mails a user wants, beside those that are always sent."""

    advertising: Advertising


class SetPreferences(BaseModel, extra="forbid"):
    """Say which mails the caller wants."""

    advertising: Advertising


class Unsubscribe(BaseModel, extra="forbid"):
    """Opt out of advertising, without signing in."""

    token: UnsubscribeToken
