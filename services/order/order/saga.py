"""The saga of an order after checkout, a state machine: its transitions, and what each sends.

| status      | fact or trigger                  | sends                              | next        |
|-------------|----------------------------------|------------------------------------|-------------|
| -           | checkout                         | ReserveStock                       | placed      |
| placed      | StockReserved                    | AuthorizePayment                   | reserved    |
|             | StockRejected                    |                                    | cancelled   |
|             | deadline, customer cancels       | ReleaseStock                       | cancelling  |
| reserved    | PaymentAuthorized                | CreateShipment                     | confirmed   |
|             | PaymentDeclined                  | ReleaseStock                       | cancelling  |
|             | deadline, customer cancels       | VoidPayment, ReleaseStock          | cancelling  |
| confirmed   | ShipmentDispatched               | CommitStock, CapturePayment        | shipped     |
|             | ShipmentRejected                 | VoidPayment, ReleaseStock          | cancelling  |
|             | deadline, customer cancels       | CancelShipment                     | withdrawing |
| withdrawing | ShipmentCancelled, -Rejected     | VoidPayment, ReleaseStock          | cancelling  |
|             | ShipmentDispatched               | CommitStock, CapturePayment        | shipped     |
|             | deadline                         | CancelShipment again; attention²   | withdrawing |
| cancelling  | stock and payment are closed     |                                    | cancelled   |
|             | deadline                         | open commands again; attention²    | cancelling  |
| shipped     | ShipmentDelivered                |                                    | delivered   |
|             | ShipmentLost                     | RefundPayment¹                     | undelivered |
|             | PaymentCaptureRefused, deadline  | attention                          | shipped     |
| delivered   | goods are returned               | RestockItems, RefundPayment¹       | delivered   |
|             | PaymentRefunded: a part; all     |                                    | -; refunded |
|             | deadline                         | the open refund again; attention²  | delivered   |
| undelivered | PaymentRefunded, PaymentVoided   |                                    | refunded    |
|             | PaymentCaptureRefused            | VoidPayment                        | undelivered |
|             | deadline                         | the open refund again; attention²  | undelivered |

¹ Once the payment is captured, see `refunds.py`. ² From the second time on.

An order has three legs (stock, payment, shipment), and each holds the last fact known of it. An event is recorded in
its leg in any status, and then the order makes every transition whose row has become true. So an early fact waits in
its leg, and a repeated fact changes nothing. ReleaseStock and VoidPayment are the compensation of the saga.
"""

from datetime import timedelta

from chassis.database import UnitOfWork, new_id, rows
from chassis.jobs import Deadlines
from chassis.message import Event
from chassis.messaging import Subscriptions
from contracts import order as contract
from contracts import payment, product, shipping
from contracts.notification import Template
from contracts.order import OrderStatus
from contracts.order_api import NothingToWriteOff, OrderAlreadyShipped, OrderNotStuck
from order import refunds
from order.config import OrderSettings
from order.legs import CLOSED_PAYMENT, CLOSED_STOCK, DEPARTED, FACTS, order_of, record_fact
from order.models import Cart, Order, PaymentLeg, ShipmentLeg, StockLeg
from order.transitions import change_status, deadline_of, escalate, notify_customer

on = Subscriptions()
deadlines = Deadlines()


def place_order(
    work: UnitOfWork[OrderSettings],
    cart: Cart,
    lines: list[contract.OrderLine],
    shipping_cents: int,
    body: contract.PlaceOrder,
) -> Order:
    """Turn the cart into an order and reserve its goods."""
    order = work.add(
        Order.new(
            id=new_id(),
            version=0,
            status=OrderStatus.PLACED,
            customer_id=cart.customer_id,
            cart_id=cart.id,
            address_id=body.address_id,
            payment_token=body.payment_token,
            lines=[line.model_dump(mode="json") for line in lines],
            shipping_cents=shipping_cents,
            total_cents=sum(line.quantity * line.price_cents for line in lines) + shipping_cents,
            currency=contract.CURRENCY,
            placed_at=work.now,
            changed_at=work.now,
            causation=work.causation(),
        )
    )
    work.remove(cart)
    work.send(product.ReserveStock(order_id=order.id, lines=order.goods))
    change_status(order, OrderStatus.PLACED, work, cause="checkout")
    return order


@on(*FACTS, needs=rows(Order, id="order_id"))
def advance_order(event: Event, work: UnitOfWork[OrderSettings]) -> None:
    """Record a fact in its leg, and make every transition that it allows."""
    order = order_of(event, work)
    fact = FACTS[type(event)]
    if record_fact(order, fact):
        if fact in (PaymentLeg.REFUSED, PaymentLeg.CAPTURED, PaymentLeg.VOIDED):
            order.attention = "capture_refused" if fact is PaymentLeg.REFUSED else None
        while _make_transition(order, work, cause=type(event).__name__):
            pass
        refunds.request_due_refunds(order, work)
    elif fact == order.payment == PaymentLeg.REFUSED and order.attention is None:
        order.attention = "capture_refused"  # again, after staff resumed the order
    if order.status == OrderStatus.UNDELIVERED and order.payment == PaymentLeg.REFUSED:
        work.send(payment.VoidPayment(order_id=order.id))  # the customer has received nothing, so nothing is owed
        order.attention = None
    if order.status in (OrderStatus.CANCELLING, OrderStatus.CANCELLED):  # a late fact: release it again
        if fact is StockLeg.RESERVED:
            work.send(product.ReleaseStock(order_id=order.id))
        if fact in (PaymentLeg.AUTHORIZED, PaymentLeg.CAPTURED):
            work.send(payment.VoidPayment(order_id=order.id))


@on(payment.PaymentRefunded, needs=rows(Order, id="order_id"))
def record_refund(event: payment.PaymentRefunded, work: UnitOfWork[OrderSettings]) -> None:
    order = order_of(event, work)
    if cents := refunds.record_refunded(order, event.refund_id):
        status = OrderStatus.REFUNDED if order.refunded_cents >= order.total_cents else OrderStatus(order.status)
        change_status(order, status, work, cause=type(event).__name__, event=contract.OrderRefunded)
        notify_customer(order, Template.ORDER_REFUNDED, work, cents)


@on(payment.PaymentRefundRefused, needs=rows(Order, id="order_id"))
def record_refused_refund(event: payment.PaymentRefundRefused, work: UnitOfWork[OrderSettings]) -> None:
    order = order_of(event, work)
    if refunds.record_refusal(order, event.refund_id, event.reason) and order.payment != PaymentLeg.VOIDED:
        order.attention = "refund_refused"


def _make_transition(order: Order, work: UnitOfWork[OrderSettings], cause: str) -> bool:
    """Make the one transition that the table allows now; False if there is none."""
    match order.status, order.stock, order.payment, order.shipment:
        case OrderStatus.PLACED, StockLeg.RESERVED, _, _:
            _request_payment(order, work)
            change_status(order, OrderStatus.RESERVED, work, cause)
        case OrderStatus.PLACED, StockLeg.REJECTED, _, _:
            change_status(order, OrderStatus.CANCELLED, work, cause, reason="out_of_stock")
        case OrderStatus.RESERVED, _, PaymentLeg.AUTHORIZED, _:
            record_fact(order, ShipmentLeg.REQUESTED)
            work.send(shipping.CreateShipment(order_id=order.id, address_id=order.address_id, lines=order.goods))
            change_status(order, OrderStatus.CONFIRMED, work, cause)
        case OrderStatus.RESERVED, _, PaymentLeg.DECLINED, _:
            _begin_cancelling(order, work, cause, reason="payment_declined")
        case OrderStatus.CONFIRMED | OrderStatus.WITHDRAWING, _, _, parcel if parcel in DEPARTED:
            work.send(product.CommitStock(order_id=order.id), payment.CapturePayment(order_id=order.id))
            change_status(order, OrderStatus.SHIPPED, work, cause)
        case OrderStatus.CONFIRMED | OrderStatus.WITHDRAWING, _, _, ShipmentLeg.REJECTED:
            _begin_cancelling(order, work, cause, reason="shipment_rejected")
        case OrderStatus.WITHDRAWING, _, _, ShipmentLeg.CANCELLED:
            _begin_cancelling(order, work, cause, reason="shipment_cancelled")
        case OrderStatus.CANCELLING, goods, money, _ if goods in CLOSED_STOCK and money in CLOSED_PAYMENT:
            change_status(order, OrderStatus.CANCELLED, work, cause)
        case OrderStatus.SHIPPED, _, _, ShipmentLeg.DELIVERED:
            order.returnable_until = work.now + timedelta(seconds=work.settings.return_seconds)
            change_status(order, OrderStatus.DELIVERED, work, cause)
        case OrderStatus.SHIPPED, _, _, ShipmentLeg.LOST:
            refunds.refund_all(order)
            change_status(order, OrderStatus.UNDELIVERED, work, cause, reason="parcel_lost")
        case OrderStatus.UNDELIVERED, _, PaymentLeg.VOIDED, _:
            change_status(order, OrderStatus.REFUNDED, work, cause)
        case _:
            return False
    return True


@deadlines(Order.deadline)
def time_out_order(order: Order, work: UnitOfWork[OrderSettings]) -> None:
    """Do what the table says for a status that has lasted too long."""
    order.deadline = None
    match order.status:
        case OrderStatus.PLACED:
            _begin_cancelling(order, work, "deadline", reason="stock_timed_out")
        case OrderStatus.RESERVED:
            _begin_cancelling(order, work, "deadline", reason="payment_timed_out")
        case OrderStatus.CONFIRMED:
            _begin_withdrawing(order, work, "deadline", reason="shipment_timed_out")
        case OrderStatus.WITHDRAWING | OrderStatus.CANCELLING | OrderStatus.UNDELIVERED:
            _repeat_open_commands(order, work)
            escalate(order, work)
        case OrderStatus.SHIPPED:
            order.attention = order.attention or "delivery_overdue"
        case OrderStatus.DELIVERED if refunds.repeat_open_refunds(order, work):
            escalate(order, work)
        case OrderStatus.DELIVERED:
            notify_customer(order, Template.REVIEW_ASKED, work)


def cancel_order(order: Order, work: UnitOfWork[OrderSettings]) -> None:
    """Cancel for the customer, as long as the parcel may not have left. Repeating it changes nothing."""
    match order.status:
        case OrderStatus.PLACED | OrderStatus.RESERVED:
            _begin_cancelling(order, work, "customer", reason="cancelled_by_customer")
        case OrderStatus.CONFIRMED:
            _begin_withdrawing(order, work, "customer", reason="cancelled_by_customer")
        case OrderStatus.WITHDRAWING | OrderStatus.CANCELLING | OrderStatus.CANCELLED:
            pass
        case _:
            raise OrderAlreadyShipped()


def resume_order(order: Order, work: UnitOfWork[OrderSettings], write_off: bool) -> None:
    """Repeat, for staff, what was refused or not answered; with `write_off` void a payment instead of capturing it."""
    if order.attention is None:
        raise OrderNotStuck()
    if write_off and order.attention != "capture_refused":
        raise NothingToWriteOff(field="write_off")
    order.attention, order.unanswered_tries, order.deadline = None, 0, deadline_of(order.status, work)
    if order.payment == PaymentLeg.REFUSED:
        work.send((payment.VoidPayment if write_off else payment.CapturePayment)(order_id=order.id))
    _repeat_open_commands(order, work)
    refunds.retry_refused_refunds(order, work)


def _repeat_open_commands(order: Order, work: UnitOfWork[OrderSettings]) -> None:
    if order.status == OrderStatus.WITHDRAWING:
        work.send(shipping.CancelShipment(order_id=order.id))
    if order.status == OrderStatus.CANCELLING:
        _compensate(order, work)
    refunds.repeat_open_refunds(order, work)


def _request_payment(order: Order, work: UnitOfWork[OrderSettings]) -> None:
    record_fact(order, PaymentLeg.REQUESTED)
    assert order.payment_token is not None
    work.send(
        payment.AuthorizePayment(
            order_id=order.id,
            amount_cents=order.total_cents,
            currency=order.currency,
            payment_token=order.payment_token,
        )
    )


def _begin_cancelling(order: Order, work: UnitOfWork[OrderSettings], cause: str, reason: str) -> None:
    _compensate(order, work)
    change_status(order, OrderStatus.CANCELLING, work, cause, reason)


def _begin_withdrawing(order: Order, work: UnitOfWork[OrderSettings], cause: str, reason: str) -> None:
    """Ask shipping to stop the parcel. Goods and money stay held until it answers: the parcel may have left."""
    work.send(shipping.CancelShipment(order_id=order.id))
    change_status(order, OrderStatus.WITHDRAWING, work, cause, reason)


def _compensate(order: Order, work: UnitOfWork[OrderSettings]) -> None:
    """Release goods and money that may be held."""
    if order.payment not in CLOSED_PAYMENT:
        work.send(payment.VoidPayment(order_id=order.id))
    if order.stock not in CLOSED_STOCK:
        work.send(product.ReleaseStock(order_id=order.id))
