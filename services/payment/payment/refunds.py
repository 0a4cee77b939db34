"""Refunds of a payment: each `refund_id` once, and all together never more than was captured."""

from chassis.database import UnitOfWork
from contracts.payment import PaymentRefunded, PaymentRefundRefused
from payment.attempts import add_attempt
from payment.ledger import post
from payment.models import AttemptKind, LedgerAccount, Payment, PaymentRefundState, PaymentState, Refund


def refusal_reason(payment: Payment, amount_cents: int) -> str | None:
    """Why this amount cannot be refunded, now or after the capture; None if it can."""
    if payment.void_pending or payment.state not in (PaymentState.CAPTURED, PaymentState.CAPTURING):
        return "voiding" if payment.void_pending else payment.state
    if not 0 < amount_cents <= payment.amount_cents - payment.refund_requested_cents:
        return "more_than_captured" if amount_cents > 0 else "nothing_to_refund"
    return None


def refuse(refund: Refund, reason: str, work: UnitOfWork) -> None:
    """Refuse a refund for good, and send the event."""
    refund.state, refund.reason = PaymentRefundState.REFUSED, reason
    announce_result(refund, work)


def announce_result(refund: Refund, work: UnitOfWork) -> None:
    """Send the event of a refund that has ended. While its outcome is unknown, the outcome will be the answer."""
    ids = {"order_id": refund.order_id, "refund_id": refund.id}
    if refund.state == PaymentRefundState.REFUNDED:
        work.send(PaymentRefunded(**ids, amount_cents=refund.amount_cents))
    elif refund.state == PaymentRefundState.REFUSED:
        work.send(PaymentRefundRefused(**ids, reason=refund.reason or refund.state))


def request_pending(payment: Payment, work: UnitOfWork) -> None:
    """Send the refunds that waited for the capture to the provider, or refuse them if the capture was refused."""
    for refund in work.loaded(Refund, order_id=payment.order_id, state=PaymentRefundState.AWAITING_CAPTURE):
        if payment.state == PaymentState.CAPTURED:
            refund.state = PaymentRefundState.REFUNDING
            add_attempt(AttemptKind.REFUND, payment, work, amount_cents=refund.amount_cents, refund_id=refund.id)
        elif payment.state != PaymentState.CAPTURING:
            payment.refund_requested_cents -= refund.amount_cents
            refuse(refund, payment.state, work)


def record_result(refund: Refund, payment: Payment, refused: str | None, work: UnitOfWork) -> None:
    """Record that the provider made the refund, or refused it for the reason `refused`."""
    if refused is None:
        refund.state = PaymentRefundState.REFUNDED
        post(payment, refund.amount_cents, work, debit=LedgerAccount.REFUNDED, credit=LedgerAccount.CAPTURED)
        announce_result(refund, work)
    else:
        payment.refund_requested_cents -= refund.amount_cents
        refuse(refund, refused, work)


def has_pending(payment: Payment, work: UnitOfWork) -> bool:
    """Whether the payment has a refund whose outcome is unknown."""
    return any(
        refund.state in (PaymentRefundState.AWAITING_CAPTURE, PaymentRefundState.REFUNDING)
        for refund in work.loaded(Refund, order_id=payment.order_id)
    )
