"""Parts of a payment that are given back, each once per refund_id, together never more than was captured."""

from chassis.work import UnitOfWork
from contracts.payment import PaymentRefunded, PaymentRefundRefused
from payment.attempts import add_attempt
from payment.ledger import post
from payment.models import AttemptKind, LedgerAccount, Payment, PaymentRefundState, PaymentState, Refund


def refusal_reason(payment: Payment, amount_cents: int) -> str | None:
    """Why so much of this payment cannot be given back, now or when it is captured."""
    if payment.void_pending or payment.state not in (PaymentState.CAPTURED, PaymentState.CAPTURING):
        return "voiding" if payment.void_pending else payment.state
    if not 0 < amount_cents <= payment.amount_cents - payment.refund_requested_cents:
        return "more_than_captured" if amount_cents > 0 else "nothing_to_refund"
    return None


def refuse(refund: Refund, reason: str, work: UnitOfWork) -> None:
    refund.state, refund.reason = PaymentRefundState.REFUSED, reason
    announce_result(refund, work)


def announce_result(refund: Refund, work: UnitOfWork) -> None:
    """Say what became of it; while that is unknown, the outcome under way is the answer."""
    told = {"order_id": refund.order_id, "refund_id": refund.id}
    if refund.state == PaymentRefundState.REFUNDED:
        work.send(PaymentRefunded(**told, amount_cents=refund.amount_cents))
    elif refund.state == PaymentRefundState.REFUSED:
        work.send(PaymentRefundRefused(**told, reason=refund.reason or refund.state))


def request_pending(payment: Payment, work: UnitOfWork) -> None:
    """Give back what was asked for, as soon as it is known whether the money is ours."""
    for refund in work.all(Refund, order_id=payment.order_id, state=PaymentRefundState.AWAITING_CAPTURE):
        if payment.state == PaymentState.CAPTURED:
            refund.state = PaymentRefundState.REFUNDING
            add_attempt(AttemptKind.REFUND, payment, work, amount_cents=refund.amount_cents, refund_id=refund.id)
        elif payment.state != PaymentState.CAPTURING:
            payment.refund_requested_cents -= refund.amount_cents
            refuse(refund, payment.state, work)


def record_result(refund: Refund, payment: Payment, refused: str | None, work: UnitOfWork) -> None:
    """The provider has given it back, or refused with this reason."""
    if refused is None:
        refund.state = PaymentRefundState.REFUNDED
        post(payment, refund.amount_cents, work, debit=LedgerAccount.REFUNDED, credit=LedgerAccount.CAPTURED)
        announce_result(refund, work)
    else:
        payment.refund_requested_cents -= refund.amount_cents
        refuse(refund, refused, work)


def has_pending(payment: Payment, work: UnitOfWork) -> bool:
    """Whether the outcome of a refund is unknown."""
    return any(
        refund.state in (PaymentRefundState.AWAITING_CAPTURE, PaymentRefundState.REFUNDING)
        for refund in work.all(Refund, order_id=payment.order_id)
    )
