"""The settings of the payment service."""

from pydantic import Field

from chassis.config import Settings


class PaymentSettings(Settings):
    """Where the payment provider is, how long it may take, and how its webhooks are signed."""

    provider_url: str = Field("http://127.0.0.1:8090", description="The address of the payment provider's API.")
    provider_timeout_seconds: float = Field(
        10,
        gt=0,
        lt=15,  # an attempt makes two requests at most, and both have to fit into its lease of 30 seconds
        description="How long one request to the provider may take.",
    )
    provider_webhook_secret: str = Field(
        min_length=1,
        description="The secret that the provider signs its webhooks with, in base64, as in Standard Webhooks.",
    )
