"""What the carrier tells us unasked: webhooks signed as the Standard Webhooks specification 1.0.0 says."""

import logging
from typing import Annotated, Literal, cast
from uuid import UUID

from fastapi import Request
from pydantic import AwareDatetime, BaseModel, Field

from chassis.web import Router, Runtime, Work
from chassis.webhooks import signed
from chassis.work import Cause, UnitOfWork
from contracts.user import Text
from shipping.carrier import CarrierParcel
from shipping.config import ShippingSettings
from shipping.handlers import record_carrier_status, record_update
from shipping.models import Shipment

logger = logging.getLogger(__name__)
router = Router(prefix="/hooks")


class CarrierWebhook(BaseModel):
    """A webhook of the carrier; `reference` is our order's id. Types unknown here are kept, and change nothing."""

    type: Annotated[str, Field(max_length=100)]
    id: str
    reference: UUID
    tracking_code: str
    occurred_at: AwareDatetime | None = None
    place: Text | None = None

    @property
    def status(self) -> str:
        return self.type.removeprefix("shipment.")


STATUS: dict[str, Literal["dispatched", "delivered", "lost"]] = {
    "dispatched": "dispatched",
    "delivered": "delivered",
    "lost": "lost",
}


@router.post("/carrier", status_code=204)
async def receive_carrier_webhook(request: Request, work: Work, runtime: Runtime) -> None:
    webhook = await signed(request, cast(ShippingSettings, runtime.settings).carrier_webhook_secret, CarrierWebhook)
    await _apply_webhook(webhook, work)


async def _apply_webhook(webhook: CarrierWebhook, work: UnitOfWork) -> None:
    found = await work.lock(Shipment, order_id=[webhook.reference])
    if not found:
        logger.warning("the carrier speaks of a shipment that is not ours", extra={"reference": str(webhook.reference)})
    for shipment in found:
        work.cause = Cause.kept_by(shipment)
        record_update(shipment, webhook.status, webhook.occurred_at or work.now, webhook.place)
        if status := STATUS.get(webhook.status):
            record_carrier_status(
                shipment, CarrierParcel(status=status, id=webhook.id, tracking_code=webhook.tracking_code), work
            )
