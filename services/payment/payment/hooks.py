"""What the provider tells us unasked: webhooks signed as the Standard Webhooks specification 1.0.0 says.

A webhook only says that there is news: the outcome is learned in the one way there is, by asking with the same key. So
it does no harm that webhooks come twice, late, in another order, or before the answer to our own call.
"""

import logging
from typing import cast
from uuid import UUID

from fastapi import Request
from pydantic import BaseModel

from chassis.web import Router, Runtime, Work
from chassis.webhooks import signed
from payment.config import PaymentSettings
from payment.errors import PaymentNotFound
from payment.queries import payment_of_order
from payment.reconciliation import retry_unknown_attempts

logger = logging.getLogger(__name__)
router = Router(prefix="/hooks")


class ProviderWebhook(BaseModel):
    """A webhook of the provider; `reference` is our order's id. What it says beyond that is not needed."""

    reference: UUID


@router.post("/provider", status_code=204)
async def receive_provider_webhook(request: Request, work: Work, runtime: Runtime) -> None:
    webhook = await signed(request, cast(PaymentSettings, runtime.settings).provider_webhook_secret, ProviderWebhook)
    try:
        await payment_of_order(work, webhook.reference)
    except PaymentNotFound:
        logger.warning("the provider speaks of a payment that is not ours", extra={"order_id": str(webhook.reference)})
    await retry_unknown_attempts([webhook.reference], work)
