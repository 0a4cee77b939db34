"""HTTP in: rates for any caller; for staff one shipment, and how many there are in each state."""

from datetime import datetime
from typing import cast
from uuid import UUID

from fastapi import Response
from pydantic import BaseModel

from chassis.web import Caller, Router, Runtime, Staff, Work
from contracts.product import Line
from contracts.shipping import RatesView
from shipping.config import ShippingSettings
from shipping.models import ShipmentState
from shipping.queries import counts_by_state, shipment_of_order

router = Router()
RATES_SECONDS = 60


class UpdateView(BaseModel):
    """What the carrier said, and when; most often not where."""

    status: str
    at: datetime
    place: str | None


class ShipmentView(BaseModel):
    order_id: UUID
    state: ShipmentState
    reason: str | None
    carrier_id: str | None
    tracking_code: str | None
    lines: list[Line]
    updates: list[UpdateView]


@router.get("/rates")
async def get_rates(response: Response, runtime: Runtime, _: Caller) -> RatesView:
    response.headers["cache-control"] = f"max-age={RATES_SECONDS}"
    return cast(ShippingSettings, runtime.settings).rates


@router.get("/shipments/{order_id}")
async def get_shipment(order_id: UUID, work: Work, _: Staff) -> ShipmentView:
    return ShipmentView.model_validate(await shipment_of_order(work, order_id), from_attributes=True)


@router.get("/totals")
async def get_totals(work: Work, _: Staff) -> dict[ShipmentState, int]:
    counts = await counts_by_state(work)
    return {state: counts.get(state, 0) for state in ShipmentState}
