"""Configuration, as typed settings from the environment: `ORDER_LOG_LEVEL` for one service, `LOG_LEVEL` for all."""

from typing import Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict


class Settings(BaseSettings):
    """The settings of every service. A service adds its own in a subclass."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    database_url: str = Field(description="The service's own PostgreSQL database, `postgresql://…`.")
    database_pool_size: int = Field(10, description="Connections of one process at most.")
    host: str = Field("127.0.0.1", description="The address that the API listens on.")
    port: int = Field(8000, description="The port that the API listens on.")
    broker: Literal["kafka", "pulsar", "memory"] = Field(
        "kafka", description="The message broker. `memory` needs all services in one process."
    )
    kafka_bootstrap_servers: str = Field("127.0.0.1:9092", description="Kafka's brokers, separated by commas.")
    kafka_partitions: int = Field(4, description="Partitions of each topic: consumers of a group at most.")
    kafka_replicas: int = Field(1, description="Replicas of a topic that a service creates.")
    pulsar_url: str = Field("pulsar://127.0.0.1:6650", description="Pulsar's brokers.")
    pulsar_admin_url: str = Field("http://127.0.0.1:8080", description="Pulsar's admin API.")
    celery_broker_url: str = Field(
        "redis://127.0.0.1:6379/0", description="Valkey with Celery's queues. Unused with the memory broker."
    )
    celery_visibility_seconds: int = Field(
        300, description="After this time a task of a dead worker runs again; a task that takes longer may run twice."
    )
    discovery: Literal["static", "dns"] = Field(
        "static", description="How services find each other: `PRODUCT_URL=…` for each, or the service's name in DNS."
    )
    service_key: str = Field(description="The key that signs the services' own tokens. The same for all services.")
    token_issuer: str = Field("user", description="The service that issues access tokens and publishes their keys.")
    request_timeout_seconds: float = Field(10, description="After this time a request is answered with 504.")
    max_body_bytes: int = Field(1024 * 1024, description="The largest body of a request.")
    consumer_batch: int = Field(100, description="Messages that a consumer handles in one transaction at most.")
    breaker_failures: int = Field(
        20, description="Failed calls to an outside system in a row that open its circuit breaker."
    )
    breaker_seconds: float = Field(5, description="How long an open circuit breaker rejects calls.")
    outbox_history: bool = Field(True, description="Whether published messages are kept, for traces and the audit.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The lowest level logged.")
    log_format: Literal["json", "console"] = Field("json", description="One JSON object a line, or text for people.")
    otel_exporter_otlp_endpoint: str = Field("", description="Where traces go over OTLP/HTTP. Empty: no traces.")
    trace_ratio: float = Field(0.1, description="The part of the traces beginning here that is sampled, 0 to 1.")

    @classmethod
    def of(cls, service: str, **values: Any) -> "Settings":
        """Read the settings of one service. `values` win over the environment."""

        class Named(cls):  # type: ignore[valid-type,misc]  # the prefix is known only now
            @classmethod
            def settings_customise_sources(
                cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **_: Any
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                own = EnvSettingsSource(settings_cls, env_prefix=f"{service.upper()}_")
                return init_settings, own, EnvSettingsSource(settings_cls, env_prefix="")

        named: Settings = Named(**values)
        return named
