"""Routes: shipping rates for every caller; for staff, a shipment and the number of shipments in each state."""

from datetime import datetime
from uuid import UUID

from fastapi import Response
from pydantic import BaseModel, Field

from chassis.web import Caller, Router, Runtime, Staff, Work, raises
from contracts.product import Line
from contracts.shipping import RatesView, TrackingCode
from contracts.shipping_api import ShipmentNotFound
from shipping.config import ShippingSettings
from shipping.models import ShipmentState
from shipping.queries import counts_by_state, shipment_of_order

router = Router(tags=["Shipments"])
RATES_SECONDS = 60
_CACHE_CONTROL = {"Cache-Control": {"description": "How long the rates hold.", "schema": {"type": "string"}}}


class UpdateView(BaseModel):
    """A report of the carrier."""

    status: str = Field(description="The carrier's own word.", examples=["in_transit"])
    at: datetime
    place: str | None = Field(description="Where the parcel was, if the carrier says so.", examples=["Leipzig"])


class ShipmentView(BaseModel):
    """The shipment of an order."""

    order_id: UUID
    state: ShipmentState
    reason: str | None = Field(description="Why it was rejected, as a code.", examples=["address_not_found"])
    carrier_id: str | None = Field(description="The parcel's id at the carrier.", examples=["shp_1"])
    tracking_code: TrackingCode | None
    lines: list[Line]
    updates: list[UpdateView] = Field(description="What the carrier reported, the oldest first.")


@router.get("/rates", responses={200: {"headers": _CACHE_CONTROL}})
async def get_rates(response: Response, runtime: Runtime[ShippingSettings], _: Caller) -> RatesView:
    """Get the shipping rates

    What one parcel costs in each country, by weight.
    """
    response.headers["cache-control"] = f"max-age={RATES_SECONDS}"
    return runtime.settings.rates


@router.get("/shipments/{order_id}", responses=raises(ShipmentNotFound))
async def get_shipment(order_id: UUID, work: Work, _: Staff) -> ShipmentView:
    """Get the shipment of an order

    For staff, with every report of the carrier.
    """
    return ShipmentView.model_validate(await shipment_of_order(work, order_id), from_attributes=True)


@router.get("/totals")
async def get_totals(work: Work, _: Staff) -> dict[ShipmentState, int]:
    """Count the shipments in each state

    For staff.
    """
    counts = await counts_by_state(work)
    return {state: counts.get(state, 0) for state in ShipmentState}
