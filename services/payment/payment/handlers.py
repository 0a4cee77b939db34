"""The state machine of a payment, from authorization to refund: commands add attempts, their outcomes send events.

| state           | AuthorizePayment  | CapturePayment        | VoidPayment      | RefundPayment | outcome of attempt  |
|-----------------|-------------------|-----------------------|------------------|---------------|---------------------|
| (none)          | authorizing       | PaymentCaptureRefused | voided           | -Refused      |                     |
| authorizing     |                   | PaymentCaptureRefused | pending          | -Refused      | authorized/declined |
| authorized      | PaymentAuthorized | capturing             | voiding          | -Refused      |                     |
| declined        | PaymentDeclined   | PaymentCaptureRefused | PaymentVoided    | -Refused      |                     |
| capturing       | PaymentAuthorized |                       | pending          | pending       | captured/-refused   |
| captured        | PaymentAuthorized | PaymentCaptured       | voiding¹         | an attempt    | -Refunded/-Refused  |
| capture_refused | PaymentAuthorized | capturing             | voiding          | -Refused      |                     |
| voiding         |                   | PaymentCaptureRefused |                  | -Refused      | voided              |
| voided          | PaymentDeclined   | PaymentCaptureRefused | PaymentVoided    | -Refused      |                     |

¹ Pending while the outcome of a refund is unknown.

Each outcome is announced by the event of its state. Where the table shows no answer to a command, the outcome of the
running attempt will be the answer. A captured payment stays captured while parts of it are refunded, also several at
the same time. A VoidPayment waits for their outcomes and then refunds the rest; later refunds are refused.
"""

from datetime import timedelta
from uuid import UUID

from chassis.database import UnitOfWork, rows
from chassis.jobs import Deadlines
from chassis.messaging import Subscriptions
from chassis.resilience import retry_delay_seconds
from contracts.payment import (
    AuthorizePayment,
    CapturePayment,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCaptureRefused,
    PaymentDeclined,
    PaymentVoided,
    RefundPayment,
    VoidPayment,
)
from payment import refunds
from payment.attempts import add_attempt
from payment.ledger import post
from payment.models import Attempt, AttemptKind, LedgerAccount, Payment, PaymentRefundState, PaymentState, Refund
from payment.provider import ProviderOutcome, request_outcome

on = Subscriptions()
deadlines = Deadlines()
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
        add_attempt(AttemptKind.AUTHORIZE, payment, work, payment_token=command.payment_token)
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
            add_attempt(AttemptKind.CAPTURE, payment, work)
        case PaymentState.CAPTURED:
            assert payment is not None
            work.send(_captured(payment))
        case PaymentState.CAPTURING:
            pass
        case state:
            work.send(PaymentCaptureRefused(order_id=command.order_id, reason=state or "never_authorized"))


def _order_with_refunds(about: VoidPayment | Attempt, work: UnitOfWork) -> list[UUID]:
    """The order's id if it has refunds, so that most payments do without one more query."""
    payment = work.get(Payment, about.order_id)
    return [payment.order_id] if payment is not None and payment.refund_requested_cents else []


@on(VoidPayment, needs=[rows(Payment, order_id="order_id"), rows(Refund, order_id=_order_with_refunds)])
def void_payment(command: VoidPayment, work: UnitOfWork) -> None:
    payment = work.get(Payment, command.order_id)
    if payment is None:
        payment = Payment.new(order_id=command.order_id, amount_cents=0, currency="", state=PaymentState.VOIDED)
        work.add(payment)
    _void(payment, work)


def _void(payment: Payment, work: UnitOfWork) -> None:
    """Leave no money held: at once, by an attempt, or once the outcome of the running attempt is known."""
    match payment.state:
        case PaymentState.AUTHORIZING | PaymentState.CAPTURING:
            payment.void_pending = True
        case PaymentState.CAPTURED if refunds.has_pending(payment, work):
            payment.void_pending = True
        case PaymentState.CAPTURED if payment.refund_requested_cents == payment.amount_cents:
            payment.state = PaymentState.VOIDED
            work.send(PaymentVoided(order_id=payment.order_id))
        case PaymentState.AUTHORIZED | PaymentState.CAPTURED | PaymentState.CAPTURE_REFUSED:
            payment.state = PaymentState.VOIDING
            rest = payment.amount_cents - payment.refund_requested_cents
            add_attempt(AttemptKind.VOID, payment, work, amount_cents=rest)
        case PaymentState.DECLINED | PaymentState.VOIDED:
            work.send(PaymentVoided(order_id=payment.order_id))


@on(RefundPayment, needs=[rows(Payment, order_id="order_id"), rows(Refund, order_id="order_id")])
def refund_payment(command: RefundPayment, work: UnitOfWork) -> None:
    payment, refund = work.get(Payment, command.order_id), work.get(Refund, command.order_id, command.refund_id)
    if refund is not None:
        return refunds.announce_result(refund, work)
    refund = Refund.new(
        order_id=command.order_id,
        id=command.refund_id,
        amount_cents=command.amount_cents,
        state=PaymentRefundState.AWAITING_CAPTURE,
    )
    work.add(refund)
    if payment is None:
        return refunds.refuse(refund, "never_captured", work)
    if reason := refunds.refusal_reason(payment, command.amount_cents):
        return refunds.refuse(refund, reason, work)
    payment.refund_requested_cents += refund.amount_cents
    refunds.request_pending(payment, work)


@deadlines(
    Attempt.due_at,
    call=request_outcome,
    lease_seconds=30,
    needs=[rows(Payment, order_id="order_id"), rows(Refund, order_id=_order_with_refunds)],
)
def record_outcome(attempt: Attempt, outcome: ProviderOutcome | None, work: UnitOfWork) -> None:
    """Record the outcome of an attempt, or schedule its next try while the outcome is unknown."""
    if outcome is None:
        seconds = retry_delay_seconds(attempt.tries, FIRST_RETRY_SECONDS, MOST_RETRY_SECONDS)
        attempt.due_at = work.now + timedelta(seconds=seconds)
        attempt.tries += 1
        return
    payment = work.get(Payment, attempt.order_id)
    assert payment is not None
    attempt.outcome, attempt.due_at, attempt.payment_token = outcome.status, None, None
    refund = work.get(Refund, attempt.order_id, attempt.refund_id)
    if refund is not None:
        refused = None if outcome.status == "refunded" else outcome.reason or outcome.status
        refunds.record_result(refund, payment, refused, work)
    else:
        _record_result(payment, attempt, outcome, work)
    refunds.request_pending(payment, work)
    if payment.void_pending and not refunds.has_pending(payment, work):
        payment.void_pending = False
        _void(payment, work)


def _record_result(payment: Payment, attempt: Attempt, outcome: ProviderOutcome, work: UnitOfWork) -> None:
    """Set the payment's state, post what happened to the money, and send the event."""
    payment.provider_id = outcome.id
    match attempt.kind, outcome.status:
        case AttemptKind.AUTHORIZE, "declined":
            payment.state, payment.reason = PaymentState.DECLINED, outcome.reason or "declined"
            work.send(PaymentDeclined(order_id=payment.order_id, reason=payment.reason))
        case AttemptKind.AUTHORIZE, _:
            payment.state = PaymentState.AUTHORIZED
            post(payment, attempt.amount_cents, work, debit=LedgerAccount.HELD, credit=LedgerAccount.CUSTOMER)
            work.send(_authorized(payment))
        case AttemptKind.CAPTURE, "captured":
            payment.state, payment.reason = PaymentState.CAPTURED, None
            post(payment, attempt.amount_cents, work, debit=LedgerAccount.CAPTURED, credit=LedgerAccount.HELD)
            work.send(_captured(payment))
        case AttemptKind.CAPTURE, _:
            payment.state, payment.reason = PaymentState.CAPTURE_REFUSED, outcome.reason or outcome.status
            work.send(PaymentCaptureRefused(order_id=payment.order_id, reason=payment.reason))
        case AttemptKind.VOID, status:
            payment.state, payment.reason = PaymentState.VOIDED, None
            was = LedgerAccount.CAPTURED if status == "refunded" else LedgerAccount.HELD
            post(payment, attempt.amount_cents, work, debit=LedgerAccount.VOIDED, credit=was)
            work.send(PaymentVoided(order_id=payment.order_id))


def _authorized(payment: Payment) -> PaymentAuthorized:
    return PaymentAuthorized(order_id=payment.order_id, amount_cents=payment.amount_cents, currency=payment.currency)


def _captured(payment: Payment) -> PaymentCaptured:
    return PaymentCaptured(order_id=payment.order_id, amount_cents=payment.amount_cents, currency=payment.currency)
