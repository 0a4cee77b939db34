"""Settings of the aggregator."""

from pydantic import Field

from chassis.config import Settings


class AggregatorSettings(Settings):
    valkey_url: str = Field("redis://127.0.0.1:6379/0", description="Valkey, for the cache and for notifications.")
    cache_seconds: int = Field(10, description="How old a page of the catalogue may be.")
    stock_timeout_seconds: float = Field(0.5, description="After this time a product is shown without its stock.")
    stream_poll_seconds: float = Field(5, description="How often a stream looks for updates that were not notified.")
