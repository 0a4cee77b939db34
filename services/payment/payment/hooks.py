"""Webhooks of the provider, signed as in Standard Webhooks 1.0.0.

A webhook only makes the service repeat its attempts whose outcome is unknown, with the same idempotency keys. So
webhooks are harmless when they come twice, late, in another order, or before the answer to our own call.
"""

import logging
from uuid import UUID

from fastapi import Request
from pydantic import BaseModel, Field

from chassis.web import Router, Runtime, SignatureRefused, Work, raises, verify_webhook
from contracts.payment_api import PaymentNotFound
from payment.config import PaymentSettings
from payment.queries import payment_of_order
from payment.reconciliation import retry_unknown_attempts

logger = logging.getLogger(__name__)
router = Router(prefix="/hooks", tags=["Webhooks"])


class ProviderWebhook(BaseModel):
    """A webhook of the provider. Its other fields are not needed."""

    reference: UUID = Field(description="The id of the order.")


@router.post("/provider", status_code=204, responses=raises(SignatureRefused))
async def receive_provider_webhook(request: Request, work: Work, runtime: Runtime[PaymentSettings]) -> None:
    """Receive a webhook of the payment provider

    For the provider, which signs its requests as in Standard Webhooks. A webhook about an unknown payment is accepted
    and logged.
    """
    webhook = await verify_webhook(request, runtime.settings.provider_webhook_secret, ProviderWebhook)
    try:
        await payment_of_order(work, webhook.reference)
    except PaymentNotFound:
        logger.warning(
            "the provider sent a webhook about an unknown payment", extra={"order_id": str(webhook.reference)}
        )
    await retry_unknown_attempts([webhook.reference], work)
