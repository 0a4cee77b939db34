"""The life of an order after checkout, read from top to bottom.

| status      | what is known or happens         | out                                | next        |
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
|             | deadline                         | the open undo again; attention²    | cancelling  |
| shipped     | ShipmentDelivered                |                                    | delivered   |
|             | ShipmentLost                     | RefundPayment¹                     | undelivered |
|             | PaymentCaptureRefused, deadline  | attention                          | shipped     |
| delivered   | goods come back                  | RestockItems, RefundPayment¹       | delivered   |
|             | PaymentRefunded: a part, all     |                                    | -, refunded |
|             | deadline                         | the open refund again; attention²  | delivered   |
| undelivered | PaymentRefunded, PaymentVoided   |                                    | refunded    |
|             | PaymentCaptureRefused            | VoidPayment                        | undelivered |
|             | deadline                         | the open refund again; attention²  | undelivered |

¹ once captured: `refunds.py`. ² from the second time on.

An order has three legs (stock, payment, shipment), each holding the last fact known of it. A message is recorded in
its leg in any status, and then the order moves by every row that has become true: an early fact waits in its leg, a
repeated one changes nothing. Each move sends its commands and one event with the order's full state.
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
from order import refunds
from order.errors import NothingToWriteOff, OrderAlreadyShipped, OrderNotStuck
from order.legs import CLOSED_PAYMENT, CLOSED_STOCK, FACTS, LEFT, learn, order_of
from order.models import Cart, Order, Payment, Shipment, Stock
from order.moves import deadline, insist, move, write

on = Subscriptions()
deadlines = Deadlines()


def place_order(
    work: UnitOfWork, cart: Cart, lines: list[contract.OrderLine], shipping_cents: int, body: contract.PlaceOrder
) -> Order:
    """Turn the cart into an order and ask for its goods."""
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
            cause=work.causation(),
        )
    )
    work.remove(cart)
    work.send(product.ReserveStock(order_id=order.id, lines=order.goods))
    move(order, OrderStatus.PLACED, work, cause="checkout")
    return order


@on(*FACTS, needs=rows(Order, id="order_id"))
def record_fact(event: Event, work: UnitOfWork) -> None:
    """Record what has happened in its leg, and let the order move on."""
    order = order_of(event, work)
    fact = FACTS[type(event)]
    if learn(order, fact):
        if fact in (Payment.REFUSED, Payment.CAPTURED, Payment.VOIDED):
            order.attention = "capture_refused" if fact is Payment.REFUSED else None
        while _move_on(order, work, cause=type(event).__name__):
            pass
        refunds.pay(order, work)
    elif fact == order.payment == Payment.REFUSED and order.attention is None:
        order.attention = "capture_refused"  # once more, after it was resumed
    if order.status == OrderStatus.UNDELIVERED and order.payment == Payment.REFUSED:
        work.send(payment.VoidPayment(order_id=order.id))  # nothing has arrived, so nothing is to be paid
        order.attention = None
    if order.status in (OrderStatus.CANCELLING, OrderStatus.CANCELLED):  # too late: what is alive is undone again
        if fact is Stock.RESERVED:
            work.send(product.ReleaseStock(order_id=order.id))
        if fact in (Payment.AUTHORIZED, Payment.CAPTURED):
            work.send(payment.VoidPayment(order_id=order.id))


@on(payment.PaymentRefunded, needs=rows(Order, id="order_id"))
def record_refund(event: payment.PaymentRefunded, work: UnitOfWork) -> None:
    order = order_of(event, work)
    if cents := refunds.record_paid(order, event.refund_id):
        whole = order.refunded_cents >= order.total_cents
        status = OrderStatus.REFUNDED if whole else OrderStatus(order.status)
        move(order, status, work, cause=type(event).__name__, event=contract.OrderRefunded)
        write(order, Template.ORDER_REFUNDED, work, cents)


@on(payment.PaymentRefundRefused, needs=rows(Order, id="order_id"))
def record_refused_refund(event: payment.PaymentRefundRefused, work: UnitOfWork) -> None:
    order = order_of(event, work)
    if refunds.record_refused(order, event.refund_id, event.reason) and order.payment != Payment.VOIDED:
        order.attention = "refund_refused"


def _move_on(order: Order, work: UnitOfWork, cause: str) -> bool:
    """Make the one move that the table allows now, if there is one."""
    match order.status, order.stock, order.payment, order.shipment:
        case OrderStatus.PLACED, Stock.RESERVED, _, _:
            _ask_for_payment(order, work)
            move(order, OrderStatus.RESERVED, work, cause)
        case OrderStatus.PLACED, Stock.REJECTED, _, _:
            move(order, OrderStatus.CANCELLED, work, cause, reason="out_of_stock")
        case OrderStatus.RESERVED, _, Payment.AUTHORIZED, _:
            learn(order, Shipment.ASKED)
            work.send(shipping.CreateShipment(order_id=order.id, address_id=order.address_id, lines=order.goods))
            move(order, OrderStatus.CONFIRMED, work, cause)
        case OrderStatus.RESERVED, _, Payment.DECLINED, _:
            _cancel(order, work, cause, reason="payment_declined")
        case OrderStatus.CONFIRMED | OrderStatus.WITHDRAWING, _, _, parcel if parcel in LEFT:
            work.send(product.CommitStock(order_id=order.id), payment.CapturePayment(order_id=order.id))
            move(order, OrderStatus.SHIPPED, work, cause)
        case OrderStatus.CONFIRMED | OrderStatus.WITHDRAWING, _, _, Shipment.REJECTED:
            _cancel(order, work, cause, reason="shipment_rejected")
        case OrderStatus.WITHDRAWING, _, _, Shipment.CANCELLED:
            _cancel(order, work, cause, reason="shipment_cancelled")
        case OrderStatus.CANCELLING, goods, money, _ if goods in CLOSED_STOCK and money in CLOSED_PAYMENT:
            move(order, OrderStatus.CANCELLED, work, cause)
        case OrderStatus.SHIPPED, _, _, Shipment.DELIVERED:
            order.returnable_until = work.now + timedelta(seconds=work.settings.return_seconds)
            move(order, OrderStatus.DELIVERED, work, cause)
        case OrderStatus.SHIPPED, _, _, Shipment.LOST:
            refunds.owe_all(order)
            move(order, OrderStatus.UNDELIVERED, work, cause, reason="parcel_lost")
        case OrderStatus.UNDELIVERED, _, Payment.VOIDED, _:
            move(order, OrderStatus.REFUNDED, work, cause)
        case _:
            return False
    return True


@deadlines(Order.deadline)
def give_up(order: Order, work: UnitOfWork) -> None:
    """The order has been in its status for too long."""
    order.deadline = None
    match order.status:
        case OrderStatus.PLACED:
            _cancel(order, work, "deadline", reason="stock_timed_out")
        case OrderStatus.RESERVED:
            _cancel(order, work, "deadline", reason="payment_timed_out")
        case OrderStatus.CONFIRMED:
            _withdraw(order, work, "deadline", reason="shipment_timed_out")
        case OrderStatus.WITHDRAWING | OrderStatus.CANCELLING | OrderStatus.UNDELIVERED:
            _ask_again(order, work)
            insist(order, work)
        case OrderStatus.SHIPPED:
            order.attention = order.attention or "delivery_overdue"
        case OrderStatus.DELIVERED if refunds.ask_again(order, work):
            insist(order, work)
        case OrderStatus.DELIVERED:
            write(order, Template.REVIEW_ASKED, work)


def cancel(order: Order, work: UnitOfWork) -> None:
    """The customer does not want it any more. Said again, nothing happens."""
    match order.status:
        case OrderStatus.PLACED | OrderStatus.RESERVED:
            _cancel(order, work, "customer", reason="cancelled_by_customer")
        case OrderStatus.CONFIRMED:
            _withdraw(order, work, "customer", reason="cancelled_by_customer")
        case OrderStatus.WITHDRAWING | OrderStatus.CANCELLING | OrderStatus.CANCELLED:
            pass
        case _:
            raise OrderAlreadyShipped()


def resume(order: Order, work: UnitOfWork, write_off: bool) -> None:
    """Somebody has looked: ask again for what did not come, or give the money up."""
    if order.attention is None:
        raise OrderNotStuck()
    if write_off and order.attention != "capture_refused":
        raise NothingToWriteOff(field="write_off")
    order.attention, order.undo_tries, order.deadline = None, 0, deadline(order.status, work)
    if order.payment == Payment.REFUSED:
        again = payment.VoidPayment if write_off else payment.CapturePayment
        work.send(again(order_id=order.id))
    _ask_again(order, work)
    refunds.retry_refused(order, work)


def _ask_again(order: Order, work: UnitOfWork) -> None:
    if order.status == OrderStatus.WITHDRAWING:
        work.send(shipping.CancelShipment(order_id=order.id))
    if order.status == OrderStatus.CANCELLING:
        _undo(order, work)
    refunds.ask_again(order, work)


def _ask_for_payment(order: Order, work: UnitOfWork) -> None:
    learn(order, Payment.ASKED)
    assert order.payment_token is not None
    work.send(
        payment.AuthorizePayment(
            order_id=order.id,
            amount_cents=order.total_cents,
            currency=order.currency,
            payment_token=order.payment_token,
        )
    )


def _cancel(order: Order, work: UnitOfWork, cause: str, reason: str) -> None:
    _undo(order, work)
    move(order, OrderStatus.CANCELLING, work, cause, reason)


def _withdraw(order: Order, work: UnitOfWork, cause: str, reason: str) -> None:
    """Nothing is undone before shipping has answered: the parcel may have left."""
    work.send(shipping.CancelShipment(order_id=order.id))
    move(order, OrderStatus.WITHDRAWING, work, cause, reason)


def _undo(order: Order, work: UnitOfWork) -> None:
    """Give back what may be held."""
    if order.payment not in CLOSED_PAYMENT:
        work.send(payment.VoidPayment(order_id=order.id))
    if order.stock not in CLOSED_STOCK:
        work.send(product.ReleaseStock(order_id=order.id))
