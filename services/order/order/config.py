"""What the order service can be told."""

from chassis.config import Settings


class OrderSettings(Settings):
    """Deadlines are seconds that an order may stay in a status before something is done about it."""

    shipping_cents: int = 490
    placed_seconds: float = 60
    reserved_seconds: float = 15 * 60
    confirmed_seconds: float = 48 * 3600
    withdrawing_seconds: float = 3600
    cancelling_seconds: float = 600
