"""What the carrier tells us unasked: webhooks signed as the Standard Webhooks specification 1.0.0 says."""

import logging
from typing import Literal, cast
from uuid import UUID

from fastapi import Request
from pydantic import BaseModel, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from chassis.errors import InvalidInput
from chassis.web import Router, Runtime, Work
from chassis.work import Cause, UnitOfWork
from shipping.carrier import Parcel
from shipping.config import ShippingSettings
from shipping.errors import SignatureRefused
from shipping.handlers import learn
from shipping.models import Shipment

logger = logging.getLogger(__name__)
router = Router(prefix="/hooks")


class News(BaseModel):
    """A webhook of the carrier; `reference` is our order's id. Types that are unknown here are ignored."""

    type: str
    id: str
    reference: UUID
    tracking_code: str


STATUS: dict[str, Literal["dispatched", "delivered"]] = {
    "shipment.dispatched": "dispatched",
    "shipment.delivered": "delivered",
}


@router.post("/carrier", status_code=204)
async def hear_carrier(request: Request, work: Work, runtime: Runtime) -> None:
    """The signature covers id, timestamp and raw body; a timestamp five minutes off is refused, against replays."""
    body = await request.body()
    secret = cast(ShippingSettings, runtime.settings).carrier_webhook_secret
    try:
        Webhook(secret).verify(body, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError):
        raise SignatureRefused() from None
    try:
        news = News.model_validate_json(body)
    except ValidationError:
        raise InvalidInput("The webhook is signed, but cannot be read.") from None
    if news.type in STATUS:
        await _tell(news, work)


async def _tell(news: News, work: UnitOfWork) -> None:
    found = await work.lock(Shipment, order_id=[news.reference])
    if not found:
        logger.warning("the carrier speaks of a shipment that is not ours", extra={"reference": str(news.reference)})
    for shipment in found:
        work.cause = Cause.kept_by(shipment)
        learn(shipment, Parcel(status=STATUS[news.type], id=news.id, tracking_code=news.tracking_code), work)
