"""Shipping: shipments, what the carrier reports of them, and shipping rates. System layer."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from chassis.calls import Api, Layer
from chassis.message import Command, Event
from contracts.payment import Cents
from contracts.product import Currency, Line

api = Api("shipping", Layer.SYSTEM)

TrackingCode = Annotated[str, Field(description="The carrier's code of the parcel.", examples=["TRK2F6C1E8A"])]
ShipmentReason = Annotated[
    str, Field(description="Why, as a code of the carrier or of this service.", examples=["address_not_found"])
]


class CreateShipment(Command, wire_type="shipping.create_shipment.v1", key="order_id"):
    """Send the lines to the address. Answered by ShipmentDispatched or ShipmentRejected."""

    order_id: UUID
    address_id: UUID = Field(description="An address in the user service, read when the parcel is sent.")
    lines: list[Line]


class CancelShipment(Command, wire_type="shipping.cancel_shipment.v1", key="order_id"):
    """Stop the shipment unless the parcel has left. Answered by ShipmentCancelled or ShipmentDispatched."""

    order_id: UUID


class ShipmentRejected(Event, wire_type="shipping.shipment_rejected.v1", key="order_id"):
    """The carrier does not take the parcel; nothing will be sent. The order service then cancels the order."""

    order_id: UUID
    reason: ShipmentReason


class ShipmentDispatched(Event, wire_type="shipping.shipment_dispatched.v1", key="order_id"):
    """The parcel has left; always announced before delivered or lost. The order service then captures the payment."""

    order_id: UUID
    tracking_code: TrackingCode


class ShipmentCancelled(Event, wire_type="shipping.shipment_cancelled.v1", key="order_id"):
    """Nothing was sent and nothing will be; a later CreateShipment is rejected."""

    order_id: UUID


class ShipmentDelivered(Event, wire_type="shipping.shipment_delivered.v1", key="order_id"):
    """The parcel has arrived."""

    order_id: UUID


class ShipmentLost(Event, wire_type="shipping.shipment_lost.v1", key="order_id"):
    """The carrier has lost the parcel; it will not arrive. The order service then refunds the order."""

    order_id: UUID


class RateView(BaseModel, frozen=True):
    """The price of one parcel up to a weight."""

    up_to_grams: int = Field(description="The heaviest parcel for this price.", examples=[2000])
    cents: Cents


class RatesView(BaseModel):
    """What shipping costs in each country."""

    currency: Currency
    countries: dict[str, list[RateView]] = Field(
        description="By ISO 3166-1 alpha-2 code, from the lightest parcel up; `*` stands for all other countries.",
        examples=[{"DE": [{"up_to_grams": 2000, "cents": 490}], "*": [{"up_to_grams": 2000, "cents": 1990}]}],
    )

    def cents(self, country: str, grams: int) -> int:
        """The price of a weight: of one parcel if it is light enough, otherwise of several, all but one full."""
        rates = self.countries.get(country) or self.countries["*"]
        for rate in rates:
            if grams <= rate.up_to_grams:
                return rate.cents
        parcels, rest = divmod(grams, rates[-1].up_to_grams)
        return parcels * rates[-1].cents + (self.cents(country, rest) if rest else 0)
