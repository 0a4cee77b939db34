"""Payment: money held, taken and given back through a payment provider. System layer."""

from uuid import UUID

from chassis.calls import Api, Layer
from chassis.message import Command, Event
from contracts.product import Currency

api = Api("payment", Layer.SYSTEM)


class AuthorizePayment(Command, wire_type="payment.authorize_payment.v1", key="order_id"):
    """Hold the amount. Answered by PaymentAuthorized or PaymentDeclined."""

    order_id: UUID
    amount_cents: int
    currency: Currency
    payment_token: str


class CapturePayment(Command, wire_type="payment.capture_payment.v1", key="order_id"):
    """Take the money held. Answered by PaymentCaptured or PaymentCaptureRefused."""

    order_id: UUID


class VoidPayment(Command, wire_type="payment.void_payment.v1", key="order_id"):
    """End with no money held, whatever came before. Answered by PaymentVoided."""

    order_id: UUID


class RefundPayment(Command, wire_type="payment.refund_payment.v1", key="order_id"):
    """Give back a part of what was captured, once per `refund_id`. Answered by PaymentRefunded or -RefundRefused."""

    order_id: UUID
    refund_id: UUID
    amount_cents: int


class PaymentAuthorized(Event, wire_type="payment.payment_authorized.v1", key="order_id"):
    """The amount is held on the customer's account."""

    order_id: UUID
    amount_cents: int
    currency: Currency


class PaymentDeclined(Event, wire_type="payment.payment_declined.v1", key="order_id"):
    """No money is held; the provider said no."""

    order_id: UUID
    reason: str


class PaymentCaptured(Event, wire_type="payment.payment_captured.v1", key="order_id"):
    """The money is ours."""

    order_id: UUID
    amount_cents: int
    currency: Currency


class PaymentCaptureRefused(Event, wire_type="payment.payment_capture_refused.v1", key="order_id"):
    """The provider would not hand over what it held: somebody has to look."""

    order_id: UUID
    reason: str


class PaymentVoided(Event, wire_type="payment.payment_voided.v1", key="order_id"):
    """No money is held for the order, and a later AuthorizePayment is refused."""

    order_id: UUID


class PaymentRefunded(Event, wire_type="payment.payment_refunded.v1", key="order_id"):
    """The amount of this refund is with the customer again."""

    order_id: UUID
    refund_id: UUID
    amount_cents: int


class PaymentRefundRefused(Event, wire_type="payment.payment_refund_refused.v1", key="order_id"):
    """The refund cannot be made: nothing captured, more than was captured, or the provider said no."""

    order_id: UUID
    refund_id: UUID
    reason: str
