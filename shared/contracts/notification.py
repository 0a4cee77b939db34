"""Notification: messages to people, templates, preferences. System layer."""

from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, Field

from chassis.calls import Api, Layer
from chassis.message import Command, Event

api = Api("notification", Layer.SYSTEM)


class Template(StrEnum):
    """What a message is about."""

    WELCOME = "welcome"
    PASSWORD_RESET = "password_reset"  # about: the id of the reset, whose secret is asked of its owner
    ORDER_CONFIRMED = "order_confirmed"
    ORDER_CANCELLED = "order_cancelled"
    ORDER_SHIPPED = "order_shipped"
    ORDER_UNDELIVERED = "order_undelivered"
    ORDER_REFUNDED = "order_refunded"
    REVIEW_ASKED = "review_asked"  # advertising: only as long as its reader wants it


class Notify(Command, wire_type="notification.notify.v1", key="user_id"):
    """Write to somebody, once per `cause_id`. Answered by NotificationSent or NotificationDropped.

    `about` is the order (or the reset) that it speaks of; amounts are minor units of `currency`.
    """

    user_id: UUID
    cause_id: UUID
    template: Template
    about: UUID | None = None
    amount_cents: int | None = None
    currency: str | None = None
    reason: str | None = None


class NotificationSent(Event, wire_type="notification.notification_sent.v1", key="user_id"):
    """The mail server has taken the message."""

    user_id: UUID
    cause_id: UUID
    template: str  # a Template, perhaps one that its reader does not know yet


class NotificationDropped(Event, wire_type="notification.notification_dropped.v1", key="user_id"):
    """Nothing was sent: the account is gone, its owner does not want it, or its address takes no mail."""

    user_id: UUID
    cause_id: UUID
    template: str
    reason: str


class PreferencesView(BaseModel):
    """What its owner wants to be written about, beside what has to be written."""

    advertising: bool


class SetPreferences(BaseModel, extra="forbid"):
    """Change what is wanted."""

    advertising: bool


class Unsubscribe(BaseModel, extra="forbid"):
    """No more advertising to whoever got the mail that this token was in."""

    token: str = Field(max_length=500)
