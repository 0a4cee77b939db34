"""What the provider tells us unasked: webhooks signed as the Standard Webhooks specification 1.0.0 says.

A webhook only says that there is news: the outcome is learned in the one way there is, by asking with the same key. So
it does no harm that webhooks come twice, late, in another order, or before the answer to our own call.
"""

import logging
from typing import cast
from uuid import UUID

from fastapi import Request
from pydantic import BaseModel, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from chassis.errors import InvalidInput
from chassis.web import Router, Runtime, Work
from payment.config import PaymentSettings
from payment.errors import PaymentNotFound, SignatureRefused
from payment.queries import payment_of_order
from payment.reconciliation import settle

logger = logging.getLogger(__name__)
router = Router(prefix="/hooks")


class News(BaseModel):
    """A webhook of the provider; `reference` is our order's id. What it says beyond that is not needed."""

    reference: UUID


@router.post("/provider", status_code=204)
async def hear_provider(request: Request, work: Work, runtime: Runtime) -> None:
    """The signature covers id, timestamp and raw body; a timestamp five minutes off is refused, against replays."""
    body = await request.body()
    secret = cast(PaymentSettings, runtime.settings).provider_webhook_secret
    try:
        Webhook(secret).verify(body, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError):
        raise SignatureRefused() from None
    try:
        news = News.model_validate_json(body)
    except ValidationError:
        raise InvalidInput("The webhook is signed, but cannot be read.") from None
    try:
        await payment_of_order(work, news.reference)
    except PaymentNotFound:
        logger.warning("the provider speaks of a payment that is not ours", extra={"order_id": str(news.reference)})
    await settle([news.reference], work)
