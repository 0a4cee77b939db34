"""What sending costs, where the carrier is, how long it may take, and the secret it signs its webhooks with."""

from typing import Annotated

from pydantic import Field

from chassis.config import Settings
from shipping.rates import RATES, CompleteRates


class ShippingSettings(Settings):
    rates: CompleteRates = RATES  # in the environment as JSON
    carrier_url: str = "http://127.0.0.1:8090"
    carrier_timeout_seconds: Annotated[float, Field(gt=0, lt=20)] = 10  # with the address, below the lease of a call
    carrier_webhook_secret: Annotated[str, Field(min_length=1)]  # base64, as Standard Webhooks has it
