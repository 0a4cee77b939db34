"""Typed settings from the environment: `ORDER_LOG_LEVEL` for one service, `LOG_LEVEL` for all."""

from typing import Any, Literal

from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict


class Settings(BaseSettings):
    """The settings of every service. A service adds its own in a subclass."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    database_url: str
    database_pool_size: int = 10
    host: str = "127.0.0.1"
    port: int = 8000
    broker: Literal["kafka", "pulsar", "memory"] = "kafka"
    kafka_bootstrap_servers: str = "127.0.0.1:9092"
    kafka_partitions: int = 4
    kafka_replicas: int = 1
    pulsar_url: str = "pulsar://127.0.0.1:6650"
    pulsar_admin_url: str = "http://127.0.0.1:8080"
    celery_broker_url: str = "redis://127.0.0.1:6379/0"  # unused with the memory broker: tasks run in that process
    celery_visibility_seconds: int = 300  # a task that takes longer may run twice; one whose worker died is back then
    discovery: Literal["static", "dns"] = "static"
    service_key: str
    token_issuer: str = "user"
    request_timeout_seconds: float = 10
    max_body_bytes: int = 1024 * 1024
    consumer_batch: int = 100
    breaker_failures: int = 20  # in a row, then somebody outside is not called …
    breaker_seconds: float = 5  # … for so long
    outbox_history: bool = True
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"
    otel_exporter_otlp_endpoint: str = ""
    trace_ratio: float = 0.1

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
