"""One service with its parts wired together, ready to run in a role, from the start to a graceful shutdown."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache, partial
from typing import Any, Generic

import httpx
import uvicorn

from chassis.brokers.kafka import KafkaBroker
from chassis.brokers.memory import MemoryBroker
from chassis.brokers.port import Broker
from chassis.calls.discovery import Discovery, DnsDiscovery, StaticDiscovery
from chassis.config import Settings
from chassis.database.errors import is_transient
from chassis.database.pool import Database
from chassis.database.retention import prune
from chassis.database.unit_of_work import S
from chassis.jobs.sweeper import DeadlineSweeper
from chassis.jobs.tasks import InProcessExecutor, TaskExecutor
from chassis.message import announced_topics
from chassis.messaging.consumer import Consumer
from chassis.messaging.relay import Relay
from chassis.process.migrate import migrate
from chassis.process.operations import operations
from chassis.process.parts import LAG_SECONDS, PRUNE_SECONDS, BackgroundPart, ensure_topics, periodic
from chassis.resilience.backoff import Backoff, wait_for_any
from chassis.service import Runtime, Service
from chassis.telemetry import logs, tracing
from chassis.telemetry.outage import Outage
from chassis.web.application import application

logger = logging.getLogger(__name__)
ROLES = ("api", "consumer", "relay", "worker", "beat", "migrate", "all")
STOP_SECONDS = 7  # of the ten that a stop may take


@cache
def _trusted() -> ssl.SSLContext:
    """Read once: a tenth of a second for each client otherwise."""
    return httpx.create_ssl_context()


class UvicornServer(uvicorn.Server):
    """uvicorn without its signal handlers, which the process has, and without its pauses of a tenth of a second.

    A response leaves in two writes. Without TCP_NODELAY the second waits up to 40 ms, until the client acknowledges the
    first. asyncio's own loop sets the option only on sockets that were made with IPPROTO_TCP.
    """

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event) -> None:
        super().__init__(config)
        self._stop = stop

    def capture_signals(self) -> Any:
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in sockets or []:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a connection inherits it
        await super().startup(sockets)

    async def main_loop(self) -> None:
        while not (self._stop.is_set() or self.should_exit):
            await self.on_tick(0)  # writes the header `date` anew
            await wait_for_any(1, self._stop)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.server_state.tasks:
            return await super().shutdown(sockets)
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):  # none has a request under way
            connection.shutdown()


class Instance(Generic[S]):
    """What runs of a service in this process."""

    def __init__(self, service: Service, settings: S, broker: Broker | None = None) -> None:
        self.service, self.settings = service, settings
        self.database = Database(service.name, settings)
        self.broker = broker or connect_broker(service, settings)
        discovery: Discovery = StaticDiscovery() if settings.discovery == "static" else DnsDiscovery(settings.port)
        self.runtime = Runtime(service, settings, self.database, discovery, httpx.AsyncClient(verify=_trusted()))
        self.stop = self.runtime.stop
        for table, watcher in service.after_commit.items():
            self.database.watch(table, partial(watcher, self.runtime))
        self.consumer = Consumer(self.database, self.broker, service.subscriptions, settings.consumer_batch)
        self.sweepers = [DeadlineSweeper(self.database, it, self.runtime) for it in service.deadlines.entries]
        self.tasks = self._task_executor()
        self.database.tasks, self.database.wake_tasks = service.tasks.by_name.values(), self.tasks.wake
        self.relay: Relay | None = None
        self._schema_outage = Outage("the database to migrate", logger, "not migrated yet")

    def _task_executor(self) -> TaskExecutor:
        """With the memory broker one process does everything and needs no queue. Nor does a service without tasks."""
        if self.settings.broker == "memory" or not self.service.tasks.by_name:
            return InProcessExecutor(self.service.tasks, self.runtime)
        from chassis.jobs.celery import CeleryExecutor  # 30 MB, only for services with tasks

        return CeleryExecutor(self.service.tasks, self.runtime)

    async def run(self, role: str) -> None:
        """Run until `stop` is set, then finish what is under way."""
        logs.service_name.set(self.service.name)
        settings = self.settings
        tracing.configure(self.service.name, settings.otel_exporter_otlp_endpoint, settings.trace_ratio)
        if role in ("relay", "all"):
            self.relay = Relay(self.database, self.broker, settings.outbox_history)
        app = application(self.runtime, operations(self.runtime, self.consumer, self._outages(role), self.stop))
        listener = socket.create_server((settings.host, settings.port))
        try:
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(UvicornServer(_uvicorn_config(app), self.stop).serve(sockets=[listener]))
                if role in ("all", "migrate"):
                    await self._migrate()
                if role != "migrate":
                    await self._run_parts(group, role, serving)
                self.stop.set()
        finally:
            await self.runtime.close()
            await self.broker.close()
            await self.database.close()
            tracing.flush(self.service.name)

    def _outages(self, role: str) -> dict[str, Outage]:
        """The outages that make an instance of this role not ready."""
        outages = {}
        if role in ("migrate", "all"):
            outages["schema"] = self._schema_outage
        if role in ("consumer", "all") and self.service.subscriptions.by_type:
            outages["consumer"] = self.consumer.outage
        if self.relay is not None:
            outages["relay"] = self.relay.outage
        if role == "worker":  # an instance of `all` answers requests without it
            outages["worker"] = self.tasks.outage
        return outages

    async def _run_parts(self, group: asyncio.TaskGroup, role: str, serving: asyncio.Task[None]) -> None:
        """Parts that publish stop last, so that the messages that the others committed leave before the end."""
        stop_publishing, working, publishing = asyncio.Event(), [serving], []
        for part in self._parts(role):
            if part.publishes:
                publishing.append(group.create_task(part.run(stop_publishing), name=part.name))
            else:
                working.append(group.create_task(part.run(self.stop), name=part.name))
        await self.stop.wait()
        await _end(working, STOP_SECONDS)
        stop_publishing.set()
        await _end(publishing, 1)

    def _parts(self, role: str) -> Iterator[BackgroundPart]:
        """The background parts of a role. `all` has those of every role."""
        consumes, topics = role in ("consumer", "all"), self.service.subscriptions.topics
        if role in ("consumer", "relay", "all"):
            wanted = sorted(announced_topics(self.service.name) | set(topics))
            yield BackgroundPart("topics", partial(ensure_topics, self.broker, wanted))
        if consumes and topics:
            yield BackgroundPart("consumer", self.consumer.run)
            yield periodic("lag", LAG_SECONDS, self.consumer.measure_lag)
        if consumes:
            for sweeper in self.sweepers:
                yield BackgroundPart("deadlines", sweeper.run)
            yield periodic("retention", PRUNE_SECONDS, partial(prune, self.database))
        if role in ("worker", "all"):
            yield BackgroundPart("worker", self.tasks.work)
        if role in ("beat", "all"):
            yield BackgroundPart("beat", self.tasks.beat)
        if self.relay is not None:
            yield BackgroundPart("relay", self.relay.run, publishes=True)

    async def _migrate(self) -> None:
        backoff = Backoff()
        while not self.stop.is_set():
            try:
                await migrate(self.service, self.settings.database_url)
                return self._schema_outage.end()
            except Exception as error:
                if not _is_transient(error):
                    raise
                self._schema_outage.begin(error)
                await backoff.pause(self.stop)


def connect_broker(service: Service, settings: Settings) -> Broker:
    """The broker that the settings name. The memory broker is one for all services that run in a process."""
    if settings.broker == "memory":
        return MemoryBroker()
    if settings.broker == "pulsar":
        from chassis.brokers.pulsar import PulsarBroker  # brings a library that other brokers do without

        return PulsarBroker(settings.pulsar_url, settings.pulsar_admin_url)
    servers, partitions, replicas = settings.kafka_bootstrap_servers, settings.kafka_partitions, settings.kafka_replicas
    return KafkaBroker(servers, service.name, partitions, replicas)


async def _end(tasks: list[asyncio.Task[None]], seconds: float) -> None:
    """Give tasks this time to end, then cancel them."""
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()


def _is_transient(error: BaseException | None) -> bool:
    """SQLAlchemy wraps what asyncpg raised, twice."""
    return error is not None and (is_transient(error) or _is_transient(error.__cause__))


def _uvicorn_config(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=STOP_SECONDS - 2,
        server_header=False,
    )
