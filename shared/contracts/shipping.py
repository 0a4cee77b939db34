"""Shipping: shipments and what the carrier says of them. System layer."""

from uuid import UUID

from pydantic import BaseModel

from chassis.calls import Api, Layer
from chassis.message import Command, Event
from contracts.product import Currency, Line

api = Api("shipping", Layer.SYSTEM)


class CreateShipment(Command, wire_type="shipping.create_shipment.v1", key="order_id"):
    """Send the lines to the address. Answered by ShipmentDispatched or ShipmentRejected."""

    order_id: UUID
    address_id: UUID
    lines: list[Line]


class CancelShipment(Command, wire_type="shipping.cancel_shipment.v1", key="order_id"):
    """Stop it if it has not left. Answered by ShipmentCancelled, or by ShipmentDispatched if it has."""

    order_id: UUID


class ShipmentRejected(Event, wire_type="shipping.shipment_rejected.v1", key="order_id"):
    """The carrier does not take it; nothing will be sent."""

    order_id: UUID
    reason: str


class ShipmentDispatched(Event, wire_type="shipping.shipment_dispatched.v1", key="order_id"):
    """The goods have left. Always announced before delivered."""

    order_id: UUID
    tracking_code: str


class ShipmentCancelled(Event, wire_type="shipping.shipment_cancelled.v1", key="order_id"):
    """Nothing was and nothing will be sent; a later CreateShipment is refused."""

    order_id: UUID


class ShipmentDelivered(Event, wire_type="shipping.shipment_delivered.v1", key="order_id"):
    """The goods have arrived."""

    order_id: UUID


class ShipmentLost(Event, wire_type="shipping.shipment_lost.v1", key="order_id"):
    """The carrier has lost the goods on their way; they will not arrive."""

    order_id: UUID


class RateView(BaseModel, frozen=True):
    """The price of one parcel up to a weight."""

    up_to_grams: int
    cents: int


class RatesView(BaseModel):
    """What sending costs, by country (ISO 3166-1 alpha-2); `*` stands for all others. Lightest first."""

    currency: Currency
    countries: dict[str, list[RateView]]

    def cents(self, country: str, grams: int) -> int:
        """The price of so much weight: of one parcel if it fits, and of as many of the largest as are needed if not."""
        rates = self.countries.get(country) or self.countries["*"]
        for rate in rates:
            if grams <= rate.up_to_grams:
                return rate.cents
        parcels, rest = divmod(grams, rates[-1].up_to_grams)
        return parcels * rates[-1].cents + (self.cents(country, rest) if rest else 0)
