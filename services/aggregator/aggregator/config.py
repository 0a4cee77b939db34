"""What the aggregator can be told."""

from chassis.config import Settings


class AggregatorSettings(Settings):
    """`cache_seconds`: how old a page of the catalogue may be. Checkout compares prices in any case.

    `stream_poll_seconds`: how late a stream may be while no news come; also how often it gives a sign of life.
    """

    valkey_url: str = "redis://127.0.0.1:6379/0"
    cache_seconds: int = 10
    stock_timeout_seconds: float = 0.5
    stream_poll_seconds: float = 5
