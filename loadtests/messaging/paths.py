"""The way of a message from one transaction to the next, and how a service has it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from opentelemetry.trace import SpanKind

from chassis import tracing
from chassis.config import Settings
from chassis.instance import Instance
from chassis.messaging.memory import MemoryBroker
from chassis.tables import new_id
from loadtests.messaging.service import ParcelHandedOver, service
from local.server import free_port


@dataclass(frozen=True)
class PathSettings:
    """A broker, a database with the tables of the service, and how many messages a consumer takes at once."""

    broker: str
    address: str
    settings: Mapping[str, str]  # that tell a service of the broker
    database_url: str
    batch: int = 100


class Path(Protocol):
    """Open within its block: what is produced in it comes to the handler. One that `writes` has a database."""

    writes: bool

    def __init__(self, place: PathSettings) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...

    async def produce(self, count: int) -> None:
        """So many messages, in one transaction; returns after its commit."""


class ChassisPath:
    """The service as it runs, with all its parts in this process."""

    writes = True

    def __init__(self, place: PathSettings, role: str = "all") -> None:
        settings = Settings.of(
            service.name,
            **place.settings,
            broker=place.broker,
            database_url=place.database_url,
            consumer_batch=place.batch,
            port=free_port(),
            service_key="a key for nobody, of at least 32 bytes",
        )
        self.instance = Instance(service, settings, MemoryBroker() if place.broker == "memory" else None)
        self._role = role

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self.instance.run(self._role))
        while not self._is_ready():  # it tells by answering requests
            if self._running.done():
                self._running.result()
            await asyncio.sleep(0.02)
        return self

    def _is_ready(self) -> bool:
        relay, consumer = self.instance.relay, self.instance.consumer
        consumes = self._role != "all" or consumer.trouble.reason is None
        return relay is not None and relay.trouble.reason is None and consumes

    async def __aexit__(self, *_: object) -> None:
        self.instance.stop.set()
        await self._running

    async def produce(self, count: int) -> None:
        """In a trace, as everything that a request or a message sets off."""
        async with self.instance.database.work() as work:
            await work.begin()
            with tracing.span(service.name, "hand over", SpanKind.INTERNAL):
                work.send(*(ParcelHandedOver(parcel_id=new_id()) for _ in range(count)))
