"""Where the payment provider is, how long it may take, and the secret it signs its webhooks with."""

from typing import Annotated

from pydantic import Field

from chassis.config import Settings


class PaymentSettings(Settings):
    provider_url: str = "http://127.0.0.1:8090"
    provider_timeout_seconds: Annotated[float, Field(gt=0, lt=15)] = 10  # twice that is below the lease of an attempt
    provider_webhook_secret: Annotated[str, Field(min_length=1)]  # base64, as Standard Webhooks has it
