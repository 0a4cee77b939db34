"""The life of a payment, read from top to bottom: commands make attempts, the outcomes of attempts make events.

| state           | AuthorizePayment  | CapturePayment        | VoidPayment           | outcome of attempt          |
|-----------------|-------------------|-----------------------|-----------------------|-----------------------------|
| (none)          | authorizing       | PaymentCaptureRefused | voided, PaymentVoided |                             |
| authorizing     |                   | PaymentCaptureRefused | waits                 | authorized or declined      |
| authorized      | PaymentAuthorized | capturing             | voiding               |                             |
| declined        | PaymentDeclined   | PaymentCaptureRefused | PaymentVoided         |                             |
| capturing       | PaymentAuthorized |                       | waits                 | captured or capture_refused |
| captured        | PaymentAuthorized | PaymentCaptured       | voiding               |                             |
| capture_refused | PaymentAuthorized | capturing             | voiding               |                             |
| voiding         |                   | PaymentCaptureRefused |                       | voided                      |
| voided          | PaymentDeclined   | PaymentCaptureRefused | PaymentVoided         |                             |

An outcome is announced by the event of its state. Where nothing is answered, the outcome under way is the answer.
"""

import random
from datetime import timedelta

from chassis.due import Due
from chassis.subscriptions import Subscriptions, rows
from chassis.tables import new_id
from chassis.work import UnitOfWork
from contracts.payment import (
    AuthorizePayment,
    CapturePayment,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCaptureRefused,
    PaymentDeclined,
    PaymentVoided,
    VoidPayment,
)
from payment.models import Attempt, AttemptKind, Payment, PaymentState
from payment.provider import Outcome, ask

on = Subscriptions()
due = Due()
FIRST_RETRY_SECONDS, MOST_RETRY_SECONDS = 0.5, 60


@on(AuthorizePayment, needs=rows(Payment, order_id="order_id"))
def authorize_payment(command: AuthorizePayment, work: UnitOfWork) -> None:
    payment = work.get(Payment, command.order_id)
    if payment is None:
        payment = Payment.new(
            order_id=command.order_id,
            amount_cents=command.amount_cents,
            currency=command.currency,
            state=PaymentState.AUTHORIZING,
        )
        work.add(payment)
        _attempt(AttemptKind.AUTHORIZE, payment, work, payment_token=command.payment_token)
    elif payment.state in (PaymentState.DECLINED, PaymentState.VOIDED):
        work.send(PaymentDeclined(order_id=payment.order_id, reason=payment.reason or payment.state))
    elif payment.state not in (PaymentState.AUTHORIZING, PaymentState.VOIDING):
        work.send(_authorized(payment))


@on(CapturePayment, needs=rows(Payment, order_id="order_id"))
def capture_payment(command: CapturePayment, work: UnitOfWork) -> None:
    payment = work.get(Payment, command.order_id)
    match payment and payment.state:
        case PaymentState.AUTHORIZED | PaymentState.CAPTURE_REFUSED:
            assert payment is not None
            payment.state = PaymentState.CAPTURING
            _attempt(AttemptKind.CAPTURE, payment, work)
        case PaymentState.CAPTURED:
            assert payment is not None
            work.send(_captured(payment))
        case PaymentState.CAPTURING:
            pass
        case state:
            work.send(PaymentCaptureRefused(order_id=command.order_id, reason=state or "never_authorized"))


@on(VoidPayment, needs=rows(Payment, order_id="order_id"))
def void_payment(command: VoidPayment, work: UnitOfWork) -> None:
    payment = work.get(Payment, command.order_id)
    if payment is None:
        payment = Payment.new(order_id=command.order_id, amount_cents=0, currency="", state=PaymentState.VOIDED)
        work.add(payment)
    _void(payment, work)


def _void(payment: Payment, work: UnitOfWork) -> None:
    """End with no money held: at once, by an attempt, or after the attempt whose outcome is unknown."""
    match payment.state:
        case PaymentState.AUTHORIZING | PaymentState.CAPTURING:
            payment.void_waits = True
        case PaymentState.AUTHORIZED | PaymentState.CAPTURED | PaymentState.CAPTURE_REFUSED:
            payment.state = PaymentState.VOIDING
            _attempt(AttemptKind.VOID, payment, work)
        case PaymentState.DECLINED | PaymentState.VOIDED:
            work.send(PaymentVoided(order_id=payment.order_id))


def _attempt(kind: AttemptKind, payment: Payment, work: UnitOfWork, payment_token: str | None = None) -> None:
    """Write down what is to be asked of the provider. It is asked after the commit."""
    attempt = Attempt.new(
        id=new_id(),
        order_id=payment.order_id,
        kind=kind,
        amount_cents=payment.amount_cents,
        currency=payment.currency,
        payment_token=payment_token,
        provider_id=payment.provider_id,
        due_at=work.now,
        cause=work.origin(),
    )
    work.add(attempt)


@due(Attempt.due_at, call=ask, lease_seconds=30, needs=rows(Payment, order_id="order_id"))
def record_outcome(attempt: Attempt, outcome: Outcome | None, work: UnitOfWork) -> None:
    """What the provider said becomes the state of the payment; while it is unknown, it is asked for again."""
    if outcome is None:
        delay = min(FIRST_RETRY_SECONDS * 2 ** min(attempt.tries, 20), MOST_RETRY_SECONDS)
        attempt.due_at = work.now + timedelta(seconds=delay * random.uniform(0.5, 1))
        attempt.tries += 1
        return
    payment = work.get(Payment, attempt.order_id)
    assert payment is not None
    attempt.outcome, attempt.due_at, attempt.payment_token = outcome.status, None, None
    _know(payment, attempt.kind, outcome, work)
    if payment.void_waits:
        payment.void_waits = False
        _void(payment, work)


def _know(payment: Payment, kind: AttemptKind, outcome: Outcome, work: UnitOfWork) -> None:
    payment.provider_id = outcome.id
    match kind, outcome.status:
        case AttemptKind.AUTHORIZE, "declined":
            payment.state, payment.reason = PaymentState.DECLINED, outcome.reason or "declined"
            work.send(PaymentDeclined(order_id=payment.order_id, reason=payment.reason))
        case AttemptKind.AUTHORIZE, _:
            payment.state = PaymentState.AUTHORIZED
            work.send(_authorized(payment))
        case AttemptKind.CAPTURE, "captured":
            payment.state, payment.reason = PaymentState.CAPTURED, None
            work.send(_captured(payment))
        case AttemptKind.CAPTURE, _:
            payment.state, payment.reason = PaymentState.CAPTURE_REFUSED, outcome.reason or outcome.status
            work.send(PaymentCaptureRefused(order_id=payment.order_id, reason=payment.reason))
        case AttemptKind.VOID, _:
            payment.state, payment.reason = PaymentState.VOIDED, None
            work.send(PaymentVoided(order_id=payment.order_id))


def _authorized(payment: Payment) -> PaymentAuthorized:
    return PaymentAuthorized(order_id=payment.order_id, amount_cents=payment.amount_cents, currency=payment.currency)


def _captured(payment: Payment) -> PaymentCaptured:
    return PaymentCaptured(order_id=payment.order_id, amount_cents=payment.amount_cents, currency=payment.currency)
