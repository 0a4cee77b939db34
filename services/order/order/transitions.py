"""What belongs to each status change of an order: its history, event, mail to the customer, and next deadline."""

from datetime import datetime, timedelta
from uuid import uuid5

from chassis.database import UnitOfWork
from contracts import order as contract
from contracts.notification import Notify, Template
from contracts.order import OrderStatus
from order.config import OrderSettings
from order.models import Order, Step

# The mail that a customer gets when an order comes to a status.
MAIL_OF_STATUS = {
    OrderStatus.CONFIRMED: Template.ORDER_CONFIRMED,
    OrderStatus.CANCELLED: Template.ORDER_CANCELLED,
    OrderStatus.SHIPPED: Template.ORDER_SHIPPED,
    OrderStatus.UNDELIVERED: Template.ORDER_UNDELIVERED,
}

# Attention that a status change does not end: staff or payment has to settle it.
UNSETTLED_MONEY = ("capture_refused", "refund_refused")


def change_status(
    order: Order,
    status: OrderStatus,
    work: UnitOfWork[OrderSettings],
    cause: str,
    reason: str | None = None,
    event: type[contract.OrderEvent] | None = None,
) -> None:
    """Change the status, add a step to the history and send the event. The first reason of an order stays."""
    order.status, order.version, order.changed_at = status, order.version + 1, work.now
    order.reason = order.reason or reason
    order.unanswered_tries = 0
    if order.attention not in UNSETTLED_MONEY:
        order.attention = None
    if status != OrderStatus.PLACED:
        order.payment_token = None  # sent to payment by now, or not needed any more
    order.deadline = deadline_of(status, work)
    work.add(
        Step.new(order_id=order.id, version=order.version, status=status, reason=order.reason, cause=cause, at=work.now)
    )
    work.send((event or contract.ANNOUNCED[status]).model_validate(order_state(order)))
    if event is None and (template := MAIL_OF_STATUS.get(status)):
        notify_customer(order, template, work)


def notify_customer(
    order: Order, template: Template, work: UnitOfWork[OrderSettings], amount_cents: int | None = None
) -> None:
    """Send the customer a mail, at most one of each template for each version of the order."""
    work.send(
        Notify(
            user_id=order.customer_id,
            cause_id=uuid5(order.id, f"{template} {order.version}"),
            template=template,
            about=order.id,
            amount_cents=order.total_cents if amount_cents is None else amount_cents,
            currency=order.currency,
            reason=order.reason,
        )
    )


def escalate(order: Order, work: UnitOfWork[OrderSettings]) -> None:
    """Count a command that was not answered in time; from the second time on the order needs attention."""
    order.unanswered_tries += 1
    if order.unanswered_tries > 1:
        order.attention = "unanswered"
    order.deadline = order.deadline or deadline_of(order.status, work)


def deadline_of(status: OrderStatus | str, work: UnitOfWork[OrderSettings]) -> datetime | None:
    """When an order that is in this status now times out; None if the status has no time limit."""
    seconds: float | None = getattr(work.settings, f"{OrderStatus(status).value}_seconds", None)
    return None if seconds is None else work.now + timedelta(seconds=seconds)


def order_state(order: Order) -> dict[str, object]:
    """The fields of `contracts.order.OrderState`, as events and views show them."""
    shown = contract.OrderView.model_fields
    return {name: order.id if name == "order_id" else getattr(order, name) for name in shown}
