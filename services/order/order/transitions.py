"""How an order changes: its history, its event, the mail to its customer, and its next deadline."""

from datetime import datetime, timedelta
from uuid import uuid5

from chassis.work import UnitOfWork
from contracts import order as contract
from contracts.notification import Notify, Template
from contracts.order import OrderStatus
from order.models import Order, Step

# What the customer is written to about.
MAIL_OF_STATUS = {
    OrderStatus.CONFIRMED: Template.ORDER_CONFIRMED,
    OrderStatus.CANCELLED: Template.ORDER_CANCELLED,
    OrderStatus.SHIPPED: Template.ORDER_SHIPPED,
}

UNSETTLED_MONEY = ("capture_refused", "refund_refused")  # stays until somebody has dealt with it


def change_status(
    order: Order,
    status: OrderStatus,
    work: UnitOfWork,
    cause: str,
    reason: str | None = None,
    event: type[contract.OrderEvent] | None = None,
) -> None:
    """Change the status, write history and announce it. The first reason stays."""
    order.status, order.version, order.changed_at = status, order.version + 1, work.now
    order.reason = order.reason or reason
    order.unanswered_tries = 0
    if order.attention not in UNSETTLED_MONEY:
        order.attention = None
    if status != OrderStatus.PLACED:
        order.payment_token = None  # payment has been told, or never will be
    order.deadline = deadline_of(status, work)
    work.add(
        Step.new(order_id=order.id, version=order.version, status=status, reason=order.reason, cause=cause, at=work.now)
    )
    work.send((event or contract.ANNOUNCED[status]).model_validate(order_state(order)))
    if event is None and (template := MAIL_OF_STATUS.get(status)):
        notify_customer(order, template, work)


def notify_customer(order: Order, template: Template, work: UnitOfWork, amount_cents: int | None = None) -> None:
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


def escalate(order: Order, work: UnitOfWork) -> None:
    """Asked once more; after that, somebody has to look."""
    order.unanswered_tries += 1
    if order.unanswered_tries > 1:
        order.attention = "unanswered"
    order.deadline = order.deadline or deadline_of(order.status, work)


def deadline_of(status: OrderStatus | str, work: UnitOfWork) -> datetime | None:
    seconds: float | None = getattr(work.settings, f"{OrderStatus(status).value}_seconds", None)
    return None if seconds is None else work.now + timedelta(seconds=seconds)


def order_state(order: Order) -> dict[str, object]:
    """The order as events and views show it."""
    shown = contract.OrderView.model_fields
    return {name: order.id if name == "order_id" else getattr(order, name) for name in shown}
