"""What the order service can be told."""

from chassis.config import Settings


class OrderSettings(Settings):
    """How long in seconds: an order may stay in a status before something is done about it, and other things last."""

    placed_seconds: float = 60
    reserved_seconds: float = 15 * 60
    confirmed_seconds: float = 48 * 3600
    withdrawing_seconds: float = 3600
    cancelling_seconds: float = 600
    shipped_seconds: float = 14 * 86_400
    delivered_seconds: float = 7 * 86_400  # then its customer is asked for a review
    undelivered_seconds: float = 600

    refund_seconds: float = 600  # until a refund that is not answered is asked for again
    return_seconds: float = 30 * 86_400  # after delivery
    quote_seconds: float = 15 * 60
    cart_seconds: float = 90 * 86_400  # after its last change
    rates_seconds: float = 60  # how old the price of a parcel may be
