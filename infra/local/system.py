"""Which servers and programs make up the shop, and what each of them is told in its environment."""

import os
import shlex
import sys
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from multiprocessing import get_context
from pathlib import Path

from local.envoy import Envoy
from local.errors import CommandError
from local.kafka import Kafka
from local.postgres import Postgres
from local.program import Program
from local.pulsar import Pulsar
from local.server import LocalServer
from local.state import LocalState, write_private
from local.valkey import Valkey
from simulators.server import Simulators


@dataclass(frozen=True)
class Listeners:
    """The ports that people know; all others are free ones."""

    public: int = 8080
    internal: int = 8081
    hooks: int = 8083


@dataclass
class LocalSystem:
    folder: Path
    kept: LocalState
    broker: str = "kafka"
    listeners: Listeners = field(default_factory=Listeners)
    left_out: Collection[str] = ()
    services: list[str] = field(default_factory=lambda: sorted(entry_points(group="services").names))

    def __post_init__(self) -> None:
        servers = ["postgres", "valkey", "valkey-keep", "envoy", "outside", "outside-mail"]
        brokers = ["kafka", "kafka-controller", "pulsar", "pulsar-web", "pulsar-bookie"]
        names = [*servers, *brokers, *self.services]
        self.ports = {name: self.kept.port(name) for name in names}
        self.service_key = self.kept.secret("service_key")
        self.webhook_secret = self.kept.secret("carrier_webhook")
        self.provider_webhook_secret = self.kept.secret("provider_webhook")
        self.passwords = {name: self.kept.password(name) for name in self.services}
        self.postgres = Postgres(self.folder / "postgres", self.ports["postgres"])
        self.valkey = Valkey(self.folder / "valkey", self.ports["valkey"])
        keep = "valkey-keep"
        self.valkey_keep = Valkey(self.folder / keep, self.ports[keep], name=keep, keeps=True)
        self.kafka = Kafka(self.folder / "kafka", self.ports["kafka"], controller_port=self.ports["kafka-controller"])
        web, bookie = self.ports["pulsar-web"], self.ports["pulsar-bookie"]
        self.pulsar = Pulsar(self.folder / "pulsar", self.ports["pulsar"], web_port=web, bookie_port=bookie)
        self.envoy = Envoy(self.folder / "envoy", self.ports["envoy"], config=self._gateway)
        self.kept.write()

    def brokers(self) -> list[LocalServer]:
        """Of messages, and of the wake-ups of tasks."""
        chosen: dict[str, list[LocalServer]] = {"kafka": [self.kafka], "pulsar": [self.pulsar]}
        return [*chosen[self.broker], self.valkey_keep] if self.broker in chosen else []

    def outside(self) -> Simulators:
        settings = {
            "SIMULATORS_MAIL_PORT": str(self.ports["outside-mail"]),
            "CARRIER_WEBHOOK_URL": f"http://127.0.0.1:{self.listeners.hooks}/shipping/hooks/carrier",
            "CARRIER_WEBHOOK_SECRET": self.webhook_secret,
            "PROVIDER_WEBHOOK_URL": f"http://127.0.0.1:{self.listeners.hooks}/payment/hooks/provider",
            "PROVIDER_WEBHOOK_SECRET": self.provider_webhook_secret,
        }
        return Simulators(self.folder / "outside", self.ports["outside"], settings=settings)

    def programs(self) -> list[Program]:
        """The services: a process for each, or with the memory broker one for all of them."""
        if self.broker == "memory":
            return [self._monolith()] if self.services else []
        kept = [name for name in self.services if name not in self.left_out]
        return [self._program(name) for name in kept]

    def environment(self, *names: str) -> dict[str, str]:
        """What these services are told: of themselves all they need, of their peers the address alone."""
        told = {
            "HOST": "127.0.0.1",
            "BROKER": self.broker,
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.address,
            "PULSAR_URL": self.pulsar.url,
            "PULSAR_ADMIN_URL": self.pulsar.admin_url,
            "DISCOVERY": "static",
            "SERVICE_KEY": self.service_key,
            "VALKEY_URL": self.valkey.url,
            "CELERY_BROKER_URL": self.valkey_keep.url,
            "SMTP_PORT": str(self.ports["outside-mail"]),
            "SHOP_URL": f"http://127.0.0.1:{self.listeners.public}",
            "PROVIDER_URL": self.url("outside"),
            "CARRIER_URL": self.url("outside"),
        }
        told |= {f"{name.upper()}_URL": self.url(name) for name in self.services}
        for name in names:
            told[f"{name.upper()}_PORT"] = str(self.ports[name])
            told[f"{name.upper()}_DATABASE_URL"] = self.postgres.url(name, self.passwords[name])
        if "shipping" in names:
            told["SHIPPING_CARRIER_WEBHOOK_SECRET"] = self.webhook_secret
        if "payment" in names:
            told["PAYMENT_PROVIDER_WEBHOOK_SECRET"] = self.provider_webhook_secret
        return told

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def urls(self) -> dict[str, str]:
        listeners = {name: f"http://127.0.0.1:{port}" for name, port in vars(self.listeners).items()}
        servers = {
            "postgres": f"127.0.0.1:{self.postgres.port}",
            "valkey": self.valkey.url,
            "valkey-keep": self.valkey_keep.url,
            "mail": f"smtp://127.0.0.1:{self.ports['outside-mail']}",
            "kafka": self.kafka.address,
            "pulsar": self.pulsar.url,
        }
        for absent in {"kafka", "pulsar", "valkey-keep"} - {server.name for server in self.brokers()}:
            del servers[absent]
        return listeners | servers | {name: self.url(name) for name in ("outside", *self.services)}

    def write_environment(self, name: str) -> str:
        """A file to source for the one who starts this service by hand; returns the command."""
        path = self.folder / f"{name}.env"
        command = f". {shlex.quote(str(path))} && {shlex.join(_run(name))}"
        exports = [f"export {key}={shlex.quote(value)}" for key, value in self.environment(name).items()]
        write_private(path, "\n".join([f"# {command}", *exports, ""]))
        return command

    def _monolith(self) -> Program:
        first, *others = (self.ports[name] for name in self.services)
        told = self.environment(*self.services)
        return Program(self.folder, first, name="services", command=_run("all"), variables=told, other_ports=others)

    def _program(self, name: str) -> Program:
        told = self.environment(name)
        return Program(self.folder, self.ports[name], name=name, command=_run(name), variables=told)

    def _gateway(self) -> str:
        """Made in a process of its own, since it imports every service, which this one need not carry."""
        upstreams = {name: self.url(name) for name in self.services}
        arguments = (
            self.listeners,
            self.ports["envoy"],
            upstreams,
            self.service_key,
            self.folder / "logs" / "access.log",
        )
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as helper:
            try:
                return helper.submit(gateway_config, *arguments).result()
            except Exception as error:  # whatever a service that is being worked on raises when it is imported
                raise CommandError(f"a service cannot be asked what it declares: {error!r}") from error


def gateway_config(listeners: Listeners, admin: int, upstreams: dict[str, str], service_key: str, log: Path) -> str:
    import gateway

    return gateway.config(
        gateway.Ports(**vars(listeners), admin=admin),
        upstreams,
        service_key=service_key,
        access_log=str(log.absolute()),
        otlp_endpoint=os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        trace_ratio=float(os.environ.get("TRACE_RATIO", "0.1")),
    )


def _run(service: str) -> list[str]:
    return [str(Path(sys.executable).with_name("run")), service, "all"]
