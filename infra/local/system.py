"""The servers and programs of the local system, and the environment variables that each service gets."""

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
    """The ports that clients know. All other ports are free ones."""

    public: int = 8080
    internal: int = 8081
    hooks: int = 8083


@dataclass
class LocalSystem:
    folder: Path
    local_state: LocalState
    broker: str = "kafka"
    listeners: Listeners = field(default_factory=Listeners)
    excluded: Collection[str] = ()
    services: list[str] = field(default_factory=lambda: sorted(entry_points(group="services").names))

    def __post_init__(self) -> None:
        servers = ["postgres", "valkey", "valkey-persistent", "envoy", "simulators", "mail"]
        brokers = ["kafka", "kafka-controller", "pulsar", "pulsar-web", "pulsar-bookie"]
        names = [*servers, *brokers, *self.services]
        self.ports = {name: self.local_state.port(name) for name in names}
        self.service_key = self.local_state.secret("service_key")
        self.webhook_secret = self.local_state.secret("carrier_webhook")
        self.provider_webhook_secret = self.local_state.secret("provider_webhook")
        self.passwords = {name: self.local_state.password(name) for name in self.services}
        self.postgres = Postgres(self.folder / "postgres", self.ports["postgres"])
        self.valkey = Valkey(self.folder / "valkey", self.ports["valkey"])
        name = "valkey-persistent"
        self.valkey_persistent = Valkey(self.folder / name, self.ports[name], name=name, persistent=True)
        self.kafka = Kafka(self.folder / "kafka", self.ports["kafka"], controller_port=self.ports["kafka-controller"])
        web, bookie = self.ports["pulsar-web"], self.ports["pulsar-bookie"]
        self.pulsar = Pulsar(self.folder / "pulsar", self.ports["pulsar"], web_port=web, bookie_port=bookie)
        self.envoy = Envoy(self.folder / "envoy", self.ports["envoy"], config=self._gateway_config)
        self.local_state.write()

    def broker_servers(self) -> list[LocalServer]:
        """The broker of messages, and the broker of Celery's tasks."""
        chosen: dict[str, list[LocalServer]] = {"kafka": [self.kafka], "pulsar": [self.pulsar]}
        return [*chosen[self.broker], self.valkey_persistent] if self.broker in chosen else []

    def simulators(self) -> Simulators:
        settings = {
            "SIMULATORS_MAIL_PORT": str(self.ports["mail"]),
            "CARRIER_WEBHOOK_URL": f"http://127.0.0.1:{self.listeners.hooks}/shipping/hooks/carrier",
            "CARRIER_WEBHOOK_SECRET": self.webhook_secret,
            "PROVIDER_WEBHOOK_URL": f"http://127.0.0.1:{self.listeners.hooks}/payment/hooks/provider",
            "PROVIDER_WEBHOOK_SECRET": self.provider_webhook_secret,
        }
        return Simulators(self.folder / "simulators", self.ports["simulators"], settings=settings)

    def service_programs(self) -> list[Program]:
        """One process for each service, or with the memory broker one process for all services."""
        if self.broker == "memory":
            return [self._monolith()] if self.services else []
        return [self._program(name) for name in self.services if name not in self.excluded]

    def service_environment(self, *names: str) -> dict[str, str]:
        """The variables of these services: all that they need themselves, and only the addresses of their peers."""
        variables = {
            "HOST": "127.0.0.1",
            "BROKER": self.broker,
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.address,
            "PULSAR_URL": self.pulsar.url,
            "PULSAR_ADMIN_URL": self.pulsar.admin_url,
            "DISCOVERY": "static",
            "SERVICE_KEY": self.service_key,
            "VALKEY_URL": self.valkey.url,
            "CELERY_BROKER_URL": self.valkey_persistent.url,
            "SMTP_PORT": str(self.ports["mail"]),
            "SHOP_URL": f"http://127.0.0.1:{self.listeners.public}",
            "PROVIDER_URL": self.url("simulators"),
            "CARRIER_URL": self.url("simulators"),
        }
        variables |= {f"{name.upper()}_URL": self.url(name) for name in self.services}
        for name in names:
            variables[f"{name.upper()}_PORT"] = str(self.ports[name])
            variables[f"{name.upper()}_DATABASE_URL"] = self.postgres.url(name, self.passwords[name])
        if "shipping" in names:
            variables["SHIPPING_CARRIER_WEBHOOK_SECRET"] = self.webhook_secret
        if "payment" in names:
            variables["PAYMENT_PROVIDER_WEBHOOK_SECRET"] = self.provider_webhook_secret
        return variables

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def urls(self) -> dict[str, str]:
        listeners = {name: f"http://127.0.0.1:{port}" for name, port in vars(self.listeners).items()}
        servers = {
            "postgres": f"127.0.0.1:{self.postgres.port}",
            "valkey": self.valkey.url,
            "valkey-persistent": self.valkey_persistent.url,
            "mail": f"smtp://127.0.0.1:{self.ports['mail']}",
            "kafka": self.kafka.address,
            "pulsar": self.pulsar.url,
        }
        for absent in {"kafka", "pulsar", "valkey-persistent"} - {server.name for server in self.broker_servers()}:
            del servers[absent]
        return listeners | servers | {name: self.url(name) for name in ("simulators", *self.services)}

    def write_environment_file(self, name: str) -> str:
        """Write the variables of a service to a file that a shell can source. Returns the command that starts it."""
        path = self.folder / f"{name}.env"
        command = f". {shlex.quote(str(path))} && {shlex.join(_run_command(name))}"
        exports = [f"export {key}={shlex.quote(value)}" for key, value in self.service_environment(name).items()]
        write_private(path, "\n".join([f"# {command}", *exports, ""]))
        return command

    def _monolith(self) -> Program:
        first, *others = (self.ports[name] for name in self.services)
        variables = self.service_environment(*self.services)
        command = _run_command("all")
        return Program(self.folder, first, name="services", command=command, variables=variables, other_ports=others)

    def _program(self, name: str) -> Program:
        variables = self.service_environment(name)
        return Program(self.folder, self.ports[name], name=name, command=_run_command(name), variables=variables)

    def _gateway_config(self) -> str:
        """Built in a process of its own: building imports every service, whose memory this process need not hold."""
        arguments = (
            self.listeners,
            self.ports["envoy"],
            {name: self.url(name) for name in self.services},
            self.service_key,
            self.folder / "logs" / "access.log",
        )
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as helper:
            try:
                return helper.submit(gateway_config, *arguments).result()
            except Exception as error:  # a service that is being edited may raise any error when it is imported
                raise CommandError(f"the routes of a service cannot be read: {error!r}") from error


def gateway_config(listeners: Listeners, admin: int, upstreams: dict[str, str], service_key: str, log: Path) -> str:
    import gateway

    return gateway.build_config(
        gateway.Ports(**vars(listeners), admin=admin),
        upstreams,
        service_key=service_key,
        access_log=str(log.absolute()),
        otlp_endpoint=os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        trace_ratio=trace_ratio(),
    )


def trace_ratio() -> float:
    """The share of requests whose trace begins at the gateway."""
    text = os.environ.get("TRACE_RATIO", "0.1")
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1
    if not 0 <= ratio <= 1:
        raise CommandError(f"TRACE_RATIO is {text}: set it to a number from 0 to 1")
    return ratio


def _run_command(service: str) -> list[str]:
    return [str(Path(sys.executable).with_name("run")), service, "all"]
