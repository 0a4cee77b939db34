"""Refunds: for goods that are returned, and for a parcel that was lost.

| state            | trigger                         | sends                                | next             |
|------------------|---------------------------------|--------------------------------------|------------------|
| -                | the customer announces a return |                                      | announced        |
| announced        | the goods arrive                | RestockItems                         | awaiting_capture |
| -                | the parcel is lost              |                                      | awaiting_capture |
| awaiting_capture | the payment is captured         | RefundPayment                        | requested        |
|                  | the payment is voided           |                                      | refused          |
| requested        | PaymentRefunded                 | OrderRefunded, see `saga.py`         | refunded         |
|                  | PaymentRefundRefused            | (attention)                          | refused          |
| refused          | staff resume the order          | RefundPayment with a new `refund_id` | requested        |

A refund is an entry of `Order.refunds`: its `id`, the `lines` that come back, `amount_cents`, `state`, `reason`, and
`refund_id`, the id in the messages to and from payment. `superseded_ids` are those that payment refused before.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from chassis.database import UnitOfWork, new_id
from contracts import payment, product
from contracts.order import OrderStatus, RefundState, RefundView
from contracts.order_api import OrderNotDelivered, RefundNotFound, ReturnExceedsOrder, ReturnTooLate
from contracts.product import Line
from order.config import OrderSettings
from order.models import Order, PaymentLeg


def announce_return(order: Order, lines: Sequence[Line], work: UnitOfWork[OrderSettings]) -> RefundView:
    """Announce that goods of a delivered order come back. The return of the last goods refunds the shipping as well.

    Raises OrderNotDelivered, ReturnTooLate and ReturnExceedsOrder.
    """
    if order.status != OrderStatus.DELIVERED:
        raise OrderNotDelivered()
    if order.returnable_until is None or work.now > order.returnable_until:
        raise ReturnTooLate()
    left = _remaining_quantities(order)
    back: Counter[UUID] = Counter()
    for line in lines:
        back[line.product_id] += line.quantity
    if any(back[id] > left[id] for id in back):
        raise ReturnExceedsOrder(field="lines")
    prices = {UUID(line["product_id"]): int(line["price_cents"]) for line in order.lines}
    amount_cents = sum(quantity * prices[id] for id, quantity in back.items())
    amount_cents += order.shipping_cents if back == +left else 0
    return refund_view(_add_refund(order, amount_cents, RefundState.ANNOUNCED, back))


def _remaining_quantities(order: Order) -> Counter[UUID]:
    left = Counter({UUID(line["product_id"]): int(line["quantity"]) for line in order.lines})
    for refund in order.refunds:
        left.subtract({UUID(line["product_id"]): line["quantity"] for line in refund["lines"]})
    return left


def _add_refund(order: Order, amount_cents: int, state: RefundState, back: Counter[UUID]) -> dict[str, Any]:
    id = str(new_id())
    lines = [{"product_id": str(product_id), "quantity": quantity} for product_id, quantity in back.items()]
    amount = {"amount_cents": amount_cents, "state": state, "reason": None}
    refund = {"id": id, "refund_id": id, "superseded_ids": [], "lines": lines, **amount}
    order.refunds = [*order.refunds, refund]
    return refund


def receive_return(order: Order, id: UUID, work: UnitOfWork[OrderSettings]) -> RefundView:
    """Record that the goods of a return have arrived. Repeating it changes nothing. Raises RefundNotFound."""
    refund = next((it for it in order.refunds if it["id"] == str(id)), None)
    if refund is None:
        raise RefundNotFound()
    if refund["state"] == RefundState.ANNOUNCED:
        lines = [Line.model_validate(line) for line in refund["lines"]]
        work.send(product.RestockItems(order_id=order.id, return_id=id, lines=lines))
        _update_refund(order, refund, state=RefundState.AWAITING_CAPTURE)
        request_due_refunds(order, work)
    return refund_view(next(it for it in order.refunds if it["id"] == str(id)))


def refund_all(order: Order) -> None:
    """Refund all that was paid and is not refunded yet, because the parcel was lost."""
    _add_refund(order, order.total_cents - order.refunded_cents, RefundState.AWAITING_CAPTURE, Counter())


def request_due_refunds(order: Order, work: UnitOfWork[OrderSettings]) -> None:
    """Request the refunds that waited for the capture, or refuse them if the payment was voided: no money was taken."""
    for refund in refunds_in_state(order, RefundState.AWAITING_CAPTURE):
        if order.payment == PaymentLeg.CAPTURED:
            _request_refund(order, refund, work)
        elif order.payment == PaymentLeg.VOIDED:
            _update_refund(order, refund, state=RefundState.REFUSED, reason="not_captured")


def _request_refund(order: Order, refund: dict[str, Any], work: UnitOfWork[OrderSettings]) -> None:
    refund_id, amount_cents = UUID(refund["refund_id"]), refund["amount_cents"]
    work.send(payment.RefundPayment(order_id=order.id, refund_id=refund_id, amount_cents=amount_cents))
    _update_refund(order, refund, state=RefundState.REQUESTED)
    order.deadline = work.now + timedelta(seconds=work.settings.refund_seconds)


def repeat_open_refunds(order: Order, work: UnitOfWork[OrderSettings]) -> bool:
    """Repeat the requests that payment has not answered; False if there are none."""
    open_ones = refunds_in_state(order, RefundState.REQUESTED)
    for refund in open_ones:
        _request_refund(order, refund, work)
    return bool(open_ones)


def retry_refused_refunds(order: Order, work: UnitOfWork[OrderSettings]) -> None:
    """Request refused refunds under new ids: payment's refusal is final for the old one."""
    for refund in refunds_in_state(order, RefundState.REFUSED):
        if refund["reason"] != "not_captured":
            ids = {"refund_id": str(new_id()), "superseded_ids": [*refund["superseded_ids"], refund["refund_id"]]}
            _update_refund(order, refund, state=RefundState.AWAITING_CAPTURE, reason=None, **ids)
    request_due_refunds(order, work)


def record_refunded(order: Order, refund_id: UUID) -> int:
    """Record that payment made the refund. Returns its cents, or 0 if this was known already."""
    refund = _refund_with_id(order, refund_id)
    if refund["state"] == RefundState.REFUNDED:
        return 0
    _update_refund(order, refund, state=RefundState.REFUNDED, reason=None)
    order.refunded_cents += refund["amount_cents"]
    return int(refund["amount_cents"])


def record_refusal(order: Order, refund_id: UUID, reason: str) -> bool:
    """Record that payment refused the refund. False if this was known already, also under a superseded id."""
    if any(str(refund_id) in it["superseded_ids"] for it in order.refunds):
        return False
    refund = _refund_with_id(order, refund_id)
    if refund["state"] != RefundState.REQUESTED:
        return False
    _update_refund(order, refund, state=RefundState.REFUSED, reason=reason)
    return True


def refunds_in_state(order: Order, state: RefundState) -> list[dict[str, Any]]:
    return [it for it in order.refunds if it["state"] == state]


def refund_view(refund: dict[str, Any]) -> RefundView:
    return RefundView.model_validate(refund)


def _refund_with_id(order: Order, refund_id: UUID) -> dict[str, Any]:
    for refund in order.refunds:
        if refund["refund_id"] == str(refund_id):
            return refund
    raise RefundNotFound(f"order {order.id}, refund {refund_id}")


def _update_refund(order: Order, refund: dict[str, Any], **changes: Any) -> None:
    order.refunds = [it | changes if it["id"] == refund["id"] else it for it in order.refunds]
