"""The settings of the order service."""

from pydantic import Field

from chassis.config import Settings


class OrderSettings(Settings):
    """Time limits in seconds. `<status>_seconds` is how long an order may stay in a status before it times out."""

    placed_seconds: float = Field(60, description="Until an order is cancelled because its stock is not reserved.")
    reserved_seconds: float = Field(
        15 * 60, description="Until an order is cancelled because its payment is not authorized."
    )
    confirmed_seconds: float = Field(
        48 * 3600, description="Until shipping is asked to stop a parcel that was not dispatched."
    )
    withdrawing_seconds: float = Field(3600, description="Until shipping is asked again to stop the parcel.")
    cancelling_seconds: float = Field(600, description="Until goods and money that are still held are released again.")
    shipped_seconds: float = Field(
        14 * 86_400, description="Until an order is shown to staff because its parcel was not delivered."
    )
    delivered_seconds: float = Field(7 * 86_400, description="Until the customer is asked for a review.")
    undelivered_seconds: float = Field(
        600, description="Until the refund of a lost parcel is requested again if it was not answered."
    )

    refund_seconds: float = Field(600, description="Until a refund that was not answered is requested again.")
    return_seconds: float = Field(30 * 86_400, description="How long after delivery goods can be returned.")
    quote_seconds: float = Field(15 * 60, description="How long the prices of a quote hold.")
    cart_seconds: float = Field(90 * 86_400, description="How long a cart is kept after its last change.")
    rates_seconds: float = Field(60, description="How long shipping rates are used before they are read again.")
