"""Payment: money held, taken and given back through a payment provider. System layer."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from chassis.calls import Api, Layer
from chassis.message import Command, Event
from contracts.product import Currency

api = Api("payment", Layer.SYSTEM)

Cents = Annotated[int, Field(description="An amount in minor units of the currency.", examples=[1999])]
PaymentToken = Annotated[
    str,
    Field(description="What the payment provider gave the client for a card; no card number.", examples=["tok_visa"]),
]
PaymentReason = Annotated[
    str, Field(description="Why, as a code of the provider or of this service.", examples=["insufficient_funds"])
]
RefundId = Annotated[UUID, Field(description="Chosen by the sender of RefundPayment; one refund for each id.")]


class AuthorizePayment(Command, wire_type="payment.authorize_payment.v1", key="order_id"):
    """Hold the amount on the customer's account. Answered by PaymentAuthorized or PaymentDeclined."""

    order_id: UUID
    amount_cents: Cents
    currency: Currency
    payment_token: PaymentToken


class CapturePayment(Command, wire_type="payment.capture_payment.v1", key="order_id"):
    """Take the money that is held. Answered by PaymentCaptured or PaymentCaptureRefused."""

    order_id: UUID


class VoidPayment(Command, wire_type="payment.void_payment.v1", key="order_id"):
    """Hold and keep no money for the order, whatever the state of its payment is. Answered by PaymentVoided.

    Money that is held is released, money that was captured is refunded.
    """

    order_id: UUID


class RefundPayment(Command, wire_type="payment.refund_payment.v1", key="order_id"):
    """Refund a part of the captured money, once for each `refund_id`.

    Answered by PaymentRefunded or PaymentRefundRefused.
    """

    order_id: UUID
    refund_id: RefundId
    amount_cents: Cents


class PaymentAuthorized(Event, wire_type="payment.payment_authorized.v1", key="order_id"):
    """The amount is held on the customer's account. The order service then creates the shipment."""

    order_id: UUID
    amount_cents: Cents
    currency: Currency


class PaymentDeclined(Event, wire_type="payment.payment_declined.v1", key="order_id"):
    """The provider declined the payment, or the payment was voided before: no money is held.

    The order service then cancels the order.
    """

    order_id: UUID
    reason: PaymentReason


class PaymentCaptured(Event, wire_type="payment.payment_captured.v1", key="order_id"):
    """The shop has the money. The order service then requests refunds that waited for it."""

    order_id: UUID
    amount_cents: Cents
    currency: Currency


class PaymentCaptureRefused(Event, wire_type="payment.payment_capture_refused.v1", key="order_id"):
    """The provider does not pay out what it held. The order service shows the order to its staff."""

    order_id: UUID
    reason: PaymentReason


class PaymentVoided(Event, wire_type="payment.payment_voided.v1", key="order_id"):
    """No money is held or kept for the order, and a later AuthorizePayment is declined."""

    order_id: UUID


class PaymentRefunded(Event, wire_type="payment.payment_refunded.v1", key="order_id"):
    """The customer has the amount of this refund back. The order service adds it to `refunded_cents`."""

    order_id: UUID
    refund_id: RefundId
    amount_cents: Cents


class PaymentRefundRefused(Event, wire_type="payment.payment_refund_refused.v1", key="order_id"):
    """The refund cannot be made: nothing was captured, too little is left, or the provider refused.

    The answer is final for this `refund_id`. The order service shows the order to its staff.
    """

    order_id: UUID
    refund_id: RefundId
    reason: PaymentReason
