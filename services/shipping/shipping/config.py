"""The settings of the shipping service."""

from pydantic import Field

from chassis.config import Settings
from shipping.rates import RATES, CompleteRates


class ShippingSettings(Settings):
    """What shipping costs, where the carrier is, how long it may take, and how its webhooks are signed."""

    rates: CompleteRates = Field(RATES, description="Shipping rates by country and weight, in the environment as JSON.")
    carrier_url: str = Field("http://127.0.0.1:8090", description="The address of the carrier's API.")
    carrier_timeout_seconds: float = Field(
        10,
        gt=0,
        lt=20,  # with the read of the address, a call has to fit into its lease of 30 seconds
        description="How long one request to the carrier may take.",
    )
    carrier_webhook_secret: str = Field(
        min_length=1,
        description="The secret that the carrier signs its webhooks with, in base64, as in Standard Webhooks.",
    )
