"""The life of an order after checkout, read from top to bottom.

| status      | what is known or happens      | out                                | next        |
|-------------|-------------------------------|------------------------------------|-------------|
| -           | checkout                      | ReserveStock                       | placed      |
| placed      | StockReserved                 | AuthorizePayment                   | reserved    |
|             | StockRejected                 |                                    | cancelled   |
|             | deadline                      | ReleaseStock                       | cancelling  |
| reserved    | PaymentAuthorized             | CreateShipment                     | confirmed   |
|             | PaymentDeclined               | ReleaseStock                       | cancelling  |
|             | deadline                      | VoidPayment, ReleaseStock          | cancelling  |
| confirmed   | ShipmentDispatched            | CommitStock, CapturePayment        | shipped     |
|             | ShipmentRejected              | VoidPayment, ReleaseStock          | cancelling  |
|             | deadline                      | CancelShipment                     | withdrawing |
| withdrawing | ShipmentCancelled, -Rejected  | VoidPayment, ReleaseStock          | cancelling  |
|             | ShipmentDispatched            | CommitStock, CapturePayment        | shipped     |
|             | deadline                      | CancelShipment again; attention²   | withdrawing |
| cancelling  | stock and payment are closed  |                                    | cancelled   |
|             | deadline                      | the open undo again; attention²    | cancelling  |
| shipped     | ShipmentDelivered             |                                    | delivered   |
|             | PaymentCaptureRefused         | attention                          | shipped     |

² from the second time on.

An order has three legs (stock, payment, shipment), each holding the last fact known of it. A message is recorded in
its leg in any status, and then the order moves by every row that has become true: an early fact waits in its leg, a
repeated one changes nothing. Each move sends its commands and one event with the order's full state.
"""

from datetime import datetime, timedelta
from uuid import UUID

from chassis.due import Due
from chassis.messaging.message import Event
from chassis.subscriptions import Subscriptions, rows
from chassis.tables import new_id
from chassis.work import UnitOfWork
from contracts import order as contract
from contracts import payment, product, shipping
from contracts.order import OrderStatus
from order.errors import OrderNotFound
from order.models import Cart, Order, Payment, Shipment, Step, Stock

on = Subscriptions()
due = Due()

# What each message says of which leg.
FACTS: dict[type[Event], Stock | Payment | Shipment] = {
    product.StockReserved: Stock.RESERVED,
    product.StockRejected: Stock.REJECTED,
    product.StockCommitted: Stock.COMMITTED,
    product.StockReleased: Stock.RELEASED,
    payment.PaymentAuthorized: Payment.AUTHORIZED,
    payment.PaymentDeclined: Payment.DECLINED,
    payment.PaymentCaptured: Payment.CAPTURED,
    payment.PaymentCaptureRefused: Payment.REFUSED,
    payment.PaymentVoided: Payment.VOIDED,
    shipping.ShipmentRejected: Shipment.REJECTED,
    shipping.ShipmentCancelled: Shipment.CANCELLED,
    shipping.ShipmentDispatched: Shipment.DISPATCHED,
    shipping.ShipmentDelivered: Shipment.DELIVERED,
}

CLOSED_STOCK = (Stock.REJECTED, Stock.RELEASED)
CLOSED_PAYMENT = (Payment.NONE, Payment.DECLINED, Payment.VOIDED)


def place_order(
    work: UnitOfWork, cart: Cart, lines: list[contract.OrderLine], address_id: UUID, payment_token: str, currency: str
) -> Order:
    """Turn the cart into an order and ask for its goods."""
    shipping_cents = work.settings.shipping_cents
    order = work.add(
        Order.new(
            id=new_id(),
            version=0,
            status=OrderStatus.PLACED,
            customer_id=cart.customer_id,
            cart_id=cart.id,
            address_id=address_id,
            payment_token=payment_token,
            lines=[line.model_dump(mode="json") for line in lines],
            shipping_cents=shipping_cents,
            total_cents=sum(line.quantity * line.price_cents for line in lines) + shipping_cents,
            currency=currency,
            placed_at=work.now,
            cause=work.origin(),
        )
    )
    work.remove(cart)
    work.send(product.ReserveStock(order_id=order.id, lines=_lines(order)))
    _move(order, OrderStatus.PLACED, work, cause="checkout")
    return order


@on(*FACTS, needs=rows(Order, id="order_id"))
def record_fact(event: Event, work: UnitOfWork) -> None:
    """Record what has happened in its leg, and let the order move on."""
    order = work.get(Order, event.order_id)  # type: ignore[attr-defined]  # every fact has one
    if order is None:
        raise OrderNotFound(f"{event.wire_type} speaks of an order that does not exist.")
    fact = FACTS[type(event)]
    if _learn(order, fact):
        if fact in (Payment.REFUSED, Payment.CAPTURED):
            order.attention = "capture_refused" if fact is Payment.REFUSED else None
        while _move_on(order, work, cause=type(event).__name__):
            pass
    if order.status in (OrderStatus.CANCELLING, OrderStatus.CANCELLED):  # too late: what is alive is undone again
        if fact is Stock.RESERVED:
            work.send(product.ReleaseStock(order_id=order.id))
        if fact in (Payment.AUTHORIZED, Payment.CAPTURED):
            work.send(payment.VoidPayment(order_id=order.id))


def _learn(order: Order, fact: Stock | Payment | Shipment) -> bool:
    """Put a fact into its leg, unless it is there already or beyond, in the order in which the models list facts."""
    leg, facts = type(fact).__name__.lower(), list(type(fact))
    if facts.index(fact) <= facts.index(type(fact)(getattr(order, leg))):
        return False
    setattr(order, leg, fact)
    return True


def _move_on(order: Order, work: UnitOfWork, cause: str) -> bool:
    """Make the one move that the table allows now, if there is one."""
    match order.status, order.stock, order.payment, order.shipment:
        case OrderStatus.PLACED, Stock.RESERVED, _, _:
            _ask_for_payment(order, work)
            _move(order, OrderStatus.RESERVED, work, cause)
        case OrderStatus.PLACED, Stock.REJECTED, _, _:
            _move(order, OrderStatus.CANCELLED, work, cause, reason="out_of_stock")
        case OrderStatus.RESERVED, _, Payment.AUTHORIZED, _:
            _ask_for_shipment(order, work)
            _move(order, OrderStatus.CONFIRMED, work, cause)
        case OrderStatus.RESERVED, _, Payment.DECLINED, _:
            _cancel(order, work, cause, reason="payment_declined")
        case OrderStatus.CONFIRMED | OrderStatus.WITHDRAWING, _, _, Shipment.DISPATCHED | Shipment.DELIVERED:
            work.send(product.CommitStock(order_id=order.id), payment.CapturePayment(order_id=order.id))
            _move(order, OrderStatus.SHIPPED, work, cause)
        case OrderStatus.CONFIRMED | OrderStatus.WITHDRAWING, _, _, Shipment.REJECTED:
            _cancel(order, work, cause, reason="shipment_rejected")
        case OrderStatus.WITHDRAWING, _, _, Shipment.CANCELLED:
            _cancel(order, work, cause, reason="shipment_cancelled")
        case OrderStatus.CANCELLING, goods, money, _ if goods in CLOSED_STOCK and money in CLOSED_PAYMENT:
            _move(order, OrderStatus.CANCELLED, work, cause)
        case OrderStatus.SHIPPED, _, _, Shipment.DELIVERED:
            _move(order, OrderStatus.DELIVERED, work, cause)
        case _:
            return False
    return True


@due(Order.deadline)
def give_up(order: Order, work: UnitOfWork) -> None:
    """The order has been in its status for too long."""
    match order.status:
        case OrderStatus.PLACED:
            _cancel(order, work, "deadline", reason="stock_timed_out")
        case OrderStatus.RESERVED:
            _cancel(order, work, "deadline", reason="payment_timed_out")
        case OrderStatus.CONFIRMED:
            work.send(shipping.CancelShipment(order_id=order.id))
            _move(order, OrderStatus.WITHDRAWING, work, "deadline", reason="shipment_timed_out")
        case OrderStatus.WITHDRAWING:
            work.send(shipping.CancelShipment(order_id=order.id))
            _insist(order, work)
        case OrderStatus.CANCELLING:
            _undo(order, work)
            _insist(order, work)
        case _:
            order.deadline = None


def _ask_for_payment(order: Order, work: UnitOfWork) -> None:
    _learn(order, Payment.ASKED)
    work.send(
        payment.AuthorizePayment(
            order_id=order.id,
            amount_cents=order.total_cents,
            currency=order.currency,
            payment_token=order.payment_token,
        )
    )


def _ask_for_shipment(order: Order, work: UnitOfWork) -> None:
    _learn(order, Shipment.ASKED)
    work.send(shipping.CreateShipment(order_id=order.id, address_id=order.address_id, lines=_lines(order)))


def _cancel(order: Order, work: UnitOfWork, cause: str, reason: str) -> None:
    _undo(order, work)
    _move(order, OrderStatus.CANCELLING, work, cause, reason)


def _undo(order: Order, work: UnitOfWork) -> None:
    """Give back what may be held."""
    if order.payment not in CLOSED_PAYMENT:
        work.send(payment.VoidPayment(order_id=order.id))
    if order.stock not in CLOSED_STOCK:
        work.send(product.ReleaseStock(order_id=order.id))


def _insist(order: Order, work: UnitOfWork) -> None:
    """Asked once more; after that, somebody has to look."""
    order.undo_tries += 1
    if order.undo_tries > 1:
        order.attention = "undo_unanswered"
    order.deadline = _deadline(order.status, work)


def _move(order: Order, status: OrderStatus, work: UnitOfWork, cause: str, reason: str | None = None) -> None:
    """Change the status, write history and announce it. The first reason stays."""
    order.status, order.version = status, order.version + 1
    order.reason = order.reason or reason
    if order.undo_tries:
        order.undo_tries, order.attention = 0, None
    order.deadline = _deadline(status, work)
    work.add(
        Step.new(order_id=order.id, version=order.version, status=status, reason=order.reason, cause=cause, at=work.now)
    )
    work.send(contract.ANNOUNCED[status].model_validate(state(order)))


def _deadline(status: OrderStatus | str, work: UnitOfWork) -> datetime | None:
    seconds: float | None = getattr(work.settings, f"{OrderStatus(status).value}_seconds", None)
    return None if seconds is None else work.now + timedelta(seconds=seconds)


def state(order: Order) -> dict[str, object]:
    """The order as events and views show it."""
    shown = contract.OrderView.model_fields
    return {name: order.id if name == "order_id" else getattr(order, name) for name in shown}


def _lines(order: Order) -> list[product.Line]:
    return [product.Line(product_id=line["product_id"], quantity=line["quantity"]) for line in order.lines]
