"""What the carrier tells us unasked: webhooks signed as the Standard Webhooks specification 1.0.0 says."""

import logging
from typing import Annotated, Literal, cast
from uuid import UUID

from fastapi import Request
from pydantic import AwareDatetime, BaseModel, Field

from chassis.database import Causation, UnitOfWork
from chassis.web import Router, Runtime, Work, verify_webhook
from contracts.user import Text
from shipping.carrier import Parcel
from shipping.config import ShippingSettings
from shipping.handlers import keep_update, learn
from shipping.models import Shipment

logger = logging.getLogger(__name__)
router = Router(prefix="/hooks")


class News(BaseModel):
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
async def hear_carrier(request: Request, work: Work, runtime: Runtime) -> None:
    news = await verify_webhook(request, cast(ShippingSettings, runtime.settings).carrier_webhook_secret, News)
    await _tell(news, work)


async def _tell(news: News, work: UnitOfWork) -> None:
    found = await work.lock(Shipment, order_id=[news.reference])
    if not found:
        logger.warning("the carrier speaks of a shipment that is not ours", extra={"reference": str(news.reference)})
    for shipment in found:
        work.cause = Causation.from_row(shipment)
        keep_update(shipment, news.status, news.occurred_at or work.now, news.place)
        if status := STATUS.get(news.status):
            learn(shipment, Parcel(status=status, id=news.id, tracking_code=news.tracking_code), work)
