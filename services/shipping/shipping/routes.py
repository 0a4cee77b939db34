"""What staff may ask: one shipment, and how many there are in each state."""

from uuid import UUID

from pydantic import BaseModel

from chassis.web import Router, Staff, Work
from contracts.product import Line
from shipping.models import ShipmentState
from shipping.queries import counts_by_state, shipment_of_order

router = Router()


class ShipmentView(BaseModel):
    order_id: UUID
    state: ShipmentState
    reason: str | None
    carrier_id: str | None
    tracking_code: str | None
    lines: list[Line]


@router.get("/shipments/{order_id}")
async def shipment(order_id: UUID, work: Work, _: Staff) -> ShipmentView:
    return ShipmentView.model_validate(await shipment_of_order(work, order_id), from_attributes=True)


@router.get("/totals")
async def totals(work: Work, _: Staff) -> dict[ShipmentState, int]:
    counts = await counts_by_state(work)
    return {state: counts.get(state, 0) for state in ShipmentState}
