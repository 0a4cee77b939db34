"""Parts of a payment that are given back, each once per refund_id, together never more than was captured."""

from chassis.database import UnitOfWork
from contracts.payment import PaymentRefunded, PaymentRefundRefused
from payment.attempts import ask_for
from payment.ledger import post
from payment.models import Account, AttemptKind, Payment, PaymentState, Refund, RefundState


def why_not(payment: Payment, amount_cents: int) -> str | None:
    """Why so much of this payment cannot be given back, now or when it is captured."""
    if payment.void_waits or payment.state not in (PaymentState.CAPTURED, PaymentState.CAPTURING):
        return "voiding" if payment.void_waits else payment.state
    if not 0 < amount_cents <= payment.amount_cents - payment.asked_back_cents:
        return "more_than_captured" if amount_cents > 0 else "nothing_to_refund"
    return None


def refuse(refund: Refund, reason: str, work: UnitOfWork) -> None:
    refund.state, refund.reason = RefundState.REFUSED, reason
    answer(refund, work)


def answer(refund: Refund, work: UnitOfWork) -> None:
    """Say what became of it; while that is unknown, the outcome under way is the answer."""
    told = {"order_id": refund.order_id, "refund_id": refund.id}
    if refund.state == RefundState.REFUNDED:
        work.send(PaymentRefunded(**told, amount_cents=refund.amount_cents))
    elif refund.state == RefundState.REFUSED:
        work.send(PaymentRefundRefused(**told, reason=refund.reason or refund.state))


def start(payment: Payment, work: UnitOfWork) -> None:
    """Give back what was asked for, as soon as it is known whether the money is ours."""
    for refund in work.loaded(Refund, order_id=payment.order_id, state=RefundState.ASKED):
        if payment.state == PaymentState.CAPTURED:
            refund.state = RefundState.REFUNDING
            ask_for(AttemptKind.REFUND, payment, work, amount_cents=refund.amount_cents, refund_id=refund.id)
        elif payment.state != PaymentState.CAPTURING:
            payment.asked_back_cents -= refund.amount_cents
            refuse(refund, payment.state, work)


def know(refund: Refund, payment: Payment, refused: str | None, work: UnitOfWork) -> None:
    """The provider has given it back, or refused with this reason."""
    if refused is None:
        refund.state = RefundState.REFUNDED
        post(payment, refund.amount_cents, work, debit=Account.REFUNDED, credit=Account.CAPTURED)
        answer(refund, work)
    else:
        payment.asked_back_cents -= refund.amount_cents
        refuse(refund, refused, work)


def under_way(payment: Payment, work: UnitOfWork) -> bool:
    """Whether the outcome of a refund is unknown."""
    return any(
        refund.state in (RefundState.ASKED, RefundState.REFUNDING)
        for refund in work.loaded(Refund, order_id=payment.order_id)
    )
