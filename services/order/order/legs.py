"""The legs of an order: what each message says of which, and when a leg is closed."""

from chassis.database import UnitOfWork
from chassis.message import Event
from contracts import payment, product, shipping
from order.errors import OrderNotFound
from order.models import Order, Payment, Shipment, Stock

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
    shipping.ShipmentLost: Shipment.LOST,
}

CLOSED_STOCK = (Stock.REJECTED, Stock.RELEASED)
CLOSED_PAYMENT = (Payment.NONE, Payment.DECLINED, Payment.VOIDED)
LEFT = (Shipment.DISPATCHED, Shipment.DELIVERED, Shipment.LOST)


def learn(order: Order, fact: Stock | Payment | Shipment) -> bool:
    """Put a fact into its leg, unless it is there already or beyond, in the order in which the models list facts."""
    leg, facts = type(fact).__name__.lower(), list(type(fact))
    if facts.index(fact) <= facts.index(type(fact)(getattr(order, leg))):
        return False
    setattr(order, leg, fact)
    return True


def order_of(event: Event, work: UnitOfWork) -> Order:
    order = work.get(Order, event.order_id)  # type: ignore[attr-defined]  # every event that comes here has one
    if order is None:
        raise OrderNotFound(f"{event.wire_type} speaks of an order that does not exist.")
    return order
