"""One service with its parts wired together, ready to run in a role."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Coroutine
from contextlib import nullcontext
from functools import cache, partial
from typing import Any

import httpx
import uvicorn

from chassis import logs, tracing
from chassis.backoff import Backoff, wait
from chassis.config import Settings
from chassis.consumer import Consumer
from chassis.database import Database
from chassis.discovery import Discovery, DnsDiscovery, StaticDiscovery
from chassis.due import Sweeper
from chassis.failures import away
from chassis.history import keep_short
from chassis.logs import Trouble
from chassis.messaging.broker import Broker, BrokerUnavailable
from chassis.messaging.kafka import KafkaBroker
from chassis.messaging.memory import MemoryBroker
from chassis.messaging.message import announced_by
from chassis.migrate import migrate
from chassis.operations import operations
from chassis.outbox import Relay
from chassis.service import Runtime, Service
from chassis.tasks import Here, Performer
from chassis.web import application

logger = logging.getLogger(__name__)
ROLES = ("api", "consumer", "relay", "worker", "beat", "migrate", "all")
STOP_SECONDS = 7  # of the ten that a stop may take


@cache
def _trusted() -> ssl.SSLContext:
    """Read once: a tenth of a second for each client otherwise."""
    return httpx.create_ssl_context()


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, which the process has, and without its pauses of a tenth of a second."""

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event) -> None:
        super().__init__(config)
        self._stop = stop

    def capture_signals(self) -> Any:
        return nullcontext()

    async def main_loop(self) -> None:
        while not (self._stop.is_set() or self.should_exit):
            await self.on_tick(0)  # writes the header `date` anew
            await wait(1, self._stop)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.server_state.tasks:
            return await super().shutdown(sockets)
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):  # none has a request under way
            connection.shutdown()


class Instance:
    """What runs of a service in this process."""

    def __init__(self, service: Service, settings: Settings, broker: Broker | None = None) -> None:
        self.service, self.settings = service, settings
        self.database = Database(service.name, settings)
        self.broker = broker or connection(service, settings)
        discovery: Discovery = StaticDiscovery() if settings.discovery == "static" else DnsDiscovery(settings.port)
        self.runtime = Runtime(service, settings, self.database, discovery, httpx.AsyncClient(verify=_trusted()))
        self.stop = self.runtime.stop
        for table, tell in service.after_commit.items():
            self.database.watch(table, partial(tell, self.runtime))
        self.consumer = Consumer(self.database, self.broker, service.subscriptions, settings.consumer_batch)
        self.sweepers = [Sweeper(self.database, entry, self.runtime) for entry in service.due.entries]
        self.tasks = self._performer()
        self.database.tasks, self.database.wake = service.tasks.bodies, self.tasks.wake
        self.relay: Relay | None = None
        self._schema = Trouble("the database to migrate", logger, "not migrated yet")
        self._topics = Trouble("the broker that is to have the topics", logger)
        self._relay_stop = asyncio.Event()

    def _performer(self) -> Performer:
        """With the memory broker one process does everything, and needs no queue for it. Nor do those without tasks."""
        if self.settings.broker == "memory" or not self.service.tasks.bodies:
            return Here(self.service.tasks, self.runtime)
        from chassis.worker import Queue  # 30 MB, for those who have tasks

        return Queue(self.service.tasks, self.runtime)

    async def run(self, role: str) -> None:
        """Run until `stop` is set, then finish what is under way."""
        logs.service_name.set(self.service.name)
        settings = self.settings
        tracing.configure(self.service.name, settings.otel_exporter_otlp_endpoint, settings.trace_ratio)
        troubles = {}
        if role in ("migrate", "all"):
            troubles["schema"] = self._schema
        if role in ("consumer", "all") and self.service.subscriptions.by_type:
            troubles["consumer"] = self.consumer.trouble
        if role in ("relay", "all"):
            self.relay = Relay(self.database, self.broker, settings.outbox_history)
            troubles["relay"] = self.relay.trouble
        if role == "worker":  # in `all` requests are answered without it
            troubles["worker"] = self.tasks.trouble
        app = application(self.runtime, operations(self.runtime, self.consumer, troubles, self.stop))
        listener = socket.create_server((settings.host, settings.port))
        try:
            async with asyncio.TaskGroup() as parts:
                serving = parts.create_task(Server(_uvicorn(app), self.stop).serve(sockets=[listener]))
                if role in ("all", "migrate"):
                    await self._migrate()
                if role != "migrate":
                    await self._run_parts(parts, role, serving)
                self.stop.set()
        finally:
            await self.runtime.close()
            await self.broker.close()
            await self.database.close()
            tracing.flush(self.service.name)

    async def _run_parts(self, parts: asyncio.TaskGroup, role: str, serving: asyncio.Task[None]) -> None:
        """Publishing ends last, so that what the others committed leaves in this life."""
        working: list[Coroutine[Any, Any, None]] = []
        if role in ("consumer", "relay", "all"):
            working.append(self._prepare())
        if role in ("consumer", "all"):
            if self.service.subscriptions.by_type:
                working += [self.consumer.run(self.stop), self.consumer.measure(self.stop)]
            working += [sweeper.run(self.stop) for sweeper in self.sweepers]
            working.append(keep_short(self.database, self.stop))
        if role in ("worker", "all"):
            working.append(self.tasks.work(self.stop))
        if role in ("beat", "all"):
            working.append(self.tasks.beat(self.stop))
        tasks = [serving, *(parts.create_task(work) for work in working)]
        relaying = parts.create_task(self.relay.run(self._relay_stop)) if self.relay else None
        await self.stop.wait()
        _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for task in late:
            task.cancel()
        self._relay_stop.set()
        if relaying is not None:
            await asyncio.wait([relaying], timeout=1)
            relaying.cancel()

    async def _prepare(self) -> None:
        """Topics that are not as the contracts want them end the process; a broker that is away is waited for."""
        topics = announced_by(self.service.name) | set(self.service.subscriptions.topics)
        backoff = Backoff()
        while not self.stop.is_set():
            try:
                await self.broker.prepare(sorted(topics))
                return self._topics.ends()
            except BrokerUnavailable as error:
                self._topics.begins(error)
                await backoff.pause(self.stop)

    async def _migrate(self) -> None:
        backoff = Backoff()
        while not self.stop.is_set():
            try:
                await migrate(self.service, self.settings.database_url)
                return self._schema.ends()
            except Exception as error:
                if not _away(error):
                    raise
                self._schema.begins(error)
                await backoff.pause(self.stop)


def connection(service: Service, settings: Settings) -> Broker:
    """To the broker that the settings name. The memory broker is one for all that run in a process."""
    if settings.broker == "memory":
        return MemoryBroker()
    if settings.broker == "pulsar":
        from chassis.messaging.pulsar import PulsarBroker  # brings a library that others need not load

        return PulsarBroker(settings.pulsar_url, settings.pulsar_admin_url)
    servers, partitions, replicas = settings.kafka_bootstrap_servers, settings.kafka_partitions, settings.kafka_replicas
    return KafkaBroker(servers, service.name, partitions, replicas)


def _away(error: BaseException | None) -> bool:
    """SQLAlchemy wraps what asyncpg raised, twice."""
    return error is not None and (away(error) or _away(error.__cause__))


def _uvicorn(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=STOP_SECONDS - 2,
        server_header=False,
    )
