"""Where the payment provider is, and how long it may take."""

from typing import Annotated

from pydantic import Field

from chassis.config import Settings


class PaymentSettings(Settings):
    provider_url: str = "http://127.0.0.1:8090"
    provider_timeout_seconds: Annotated[float, Field(gt=0, lt=30)] = 10  # below the lease of an attempt
