"""Webhooks of the carrier, signed as in Standard Webhooks 1.0.0."""

import logging
from typing import Literal
from uuid import UUID

from fastapi import Request
from pydantic import AwareDatetime, BaseModel, Field

from chassis.database import Causation, UnitOfWork
from chassis.web import Router, Runtime, SignatureRefused, Work, raises, verify_webhook
from contracts.user import Text
from shipping.carrier import CarrierParcel
from shipping.config import ShippingSettings
from shipping.handlers import record_carrier_status, record_update
from shipping.models import Shipment

logger = logging.getLogger(__name__)
router = Router(prefix="/hooks", tags=["Webhooks"])


class CarrierWebhook(BaseModel):
    """A webhook of the carrier. Types that are unknown here are kept as updates, and change no state."""

    type: str = Field(max_length=100, description="What happened to the parcel.", examples=["shipment.dispatched"])
    id: str = Field(description="The parcel's id at the carrier.")
    reference: UUID = Field(description="The id of the order.")
    tracking_code: str
    occurred_at: AwareDatetime | None = None
    place: Text | None = Field(default=None, description="Where the parcel was.", examples=["Leipzig"])

    @property
    def status(self) -> str:
        return self.type.removeprefix("shipment.")


STATUS: dict[str, Literal["dispatched", "delivered", "lost"]] = {
    "dispatched": "dispatched",
    "delivered": "delivered",
    "lost": "lost",
}


@router.post("/carrier", status_code=204, responses=raises(SignatureRefused))
async def receive_carrier_webhook(request: Request, work: Work, runtime: Runtime[ShippingSettings]) -> None:
    """Receive a webhook of the carrier

    For the carrier, which signs its requests as in Standard Webhooks. A webhook about an unknown shipment is accepted
    and logged.
    """
    webhook = await verify_webhook(request, runtime.settings.carrier_webhook_secret, CarrierWebhook)
    await _apply_webhook(webhook, work)


async def _apply_webhook(webhook: CarrierWebhook, work: UnitOfWork) -> None:
    found = await work.lock(Shipment, order_id=[webhook.reference])
    if not found:
        logger.warning(
            "the carrier sent a webhook about an unknown shipment", extra={"reference": str(webhook.reference)}
        )
    for shipment in found:
        work.cause = Causation.from_row(shipment)
        record_update(shipment, webhook.status, webhook.occurred_at or work.now, webhook.place)
        if status := STATUS.get(webhook.status):
            record_carrier_status(
                shipment, CarrierParcel(status=status, id=webhook.id, tracking_code=webhook.tracking_code), work
            )
