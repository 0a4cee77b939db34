"""The three legs of an order (stock, payment, shipment): the fact that each event states, and when a leg is closed."""

from chassis.database import UnitOfWork
from chassis.message import Event
from contracts import payment, product, shipping
from contracts.order_api import OrderNotFound
from order.models import Order, PaymentLeg, ShipmentLeg, StockLeg

Fact = StockLeg | PaymentLeg | ShipmentLeg

# The fact that each event states.
FACTS: dict[type[Event], Fact] = {
    product.StockReserved: StockLeg.RESERVED,
    product.StockRejected: StockLeg.REJECTED,
    product.StockCommitted: StockLeg.COMMITTED,
    product.StockReleased: StockLeg.RELEASED,
    payment.PaymentAuthorized: PaymentLeg.AUTHORIZED,
    payment.PaymentDeclined: PaymentLeg.DECLINED,
    payment.PaymentCaptured: PaymentLeg.CAPTURED,
    payment.PaymentCaptureRefused: PaymentLeg.REFUSED,
    payment.PaymentVoided: PaymentLeg.VOIDED,
    shipping.ShipmentRejected: ShipmentLeg.REJECTED,
    shipping.ShipmentCancelled: ShipmentLeg.CANCELLED,
    shipping.ShipmentDispatched: ShipmentLeg.DISPATCHED,
    shipping.ShipmentDelivered: ShipmentLeg.DELIVERED,
    shipping.ShipmentLost: ShipmentLeg.LOST,
}

# The column of `Order` that holds a leg.
LEG_COLUMNS: dict[type, str] = {StockLeg: "stock", PaymentLeg: "payment", ShipmentLeg: "shipment"}

# Closed: nothing is held any more.
CLOSED_STOCK = (StockLeg.REJECTED, StockLeg.RELEASED)
CLOSED_PAYMENT = (PaymentLeg.NONE, PaymentLeg.DECLINED, PaymentLeg.VOIDED)
DEPARTED = (ShipmentLeg.DISPATCHED, ShipmentLeg.DELIVERED, ShipmentLeg.LOST)


def record_fact(order: Order, fact: Fact) -> bool:
    """Set the leg to the fact, and return whether this changed the leg.

    A leg only goes forward, in the order in which its enum lists the facts: a repeated or late fact changes nothing.
    """
    leg, facts = LEG_COLUMNS[type(fact)], list(type(fact))
    if facts.index(fact) <= facts.index(type(fact)(getattr(order, leg))):
        return False
    setattr(order, leg, fact)
    return True


def order_of(event: Event, work: UnitOfWork) -> Order:
    """The loaded order of an event. Raises OrderNotFound, which makes the event a dead letter."""
    order = work.get(Order, event.order_id)  # type: ignore[attr-defined]  # every event that comes here has one
    if order is None:
        raise OrderNotFound(f"{event.wire_type} names an order that does not exist.")
    return order
