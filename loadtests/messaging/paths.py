"""The path of a message from one transaction to the next: the protocol, and the path through the chassis."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from opentelemetry.trace import SpanKind

from chassis.brokers.memory import MemoryBroker
from chassis.config import Settings
from chassis.database import new_id
from chassis.process.instance import Instance
from chassis.process.ports import reserve_port
from chassis.telemetry import tracing
from loadtests.messaging.service import ParcelHandedOver, service


@dataclass(frozen=True)
class PathSettings:
    """A broker, a database with the tables of the service, and how many messages a consumer takes at once."""

    broker: str
    address: str
    settings: Mapping[str, str]  # of a service, about the broker
    database_url: str
    batch: int = 100


class MessagePath(Protocol):
    """Works inside `async with path:`, where produced messages reach the handler. `writes`: it uses the database."""

    writes: bool

    def __init__(self, settings: PathSettings) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...

    async def produce(self, count: int) -> None:
        """Produce messages in one transaction. Returns after the commit."""


class ChassisPath:
    """The service as it runs, with all its parts in this process."""

    writes = True

    def __init__(self, path: PathSettings, role: str = "all") -> None:
        settings = Settings.of(
            service.name,
            **path.settings,
            broker=path.broker,
            database_url=path.database_url,
            consumer_batch=path.batch,
            port=reserve_port(),
            service_key="a key that no caller uses, of 32 bytes or more",
        )
        self.instance = Instance(service, settings, MemoryBroker() if path.broker == "memory" else None)
        self._role = role

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self.instance.run(self._role))
        while not self._is_ready():  # the instance reports readiness only over HTTP
            if self._running.done():
                self._running.result()
            await asyncio.sleep(0.02)
        return self

    def _is_ready(self) -> bool:
        relay, consumer = self.instance.relay, self.instance.consumer
        consumes = self._role != "all" or consumer.outage.reason is None
        return relay is not None and relay.outage.reason is None and consumes

    async def __aexit__(self, *_: object) -> None:
        self.instance.stop.set()
        await self._running

    async def produce(self, count: int) -> None:
        """In a span, like everything that a request or a message causes."""
        async with self.instance.database.work() as work:
            await work.begin()
            with tracing.span(service.name, "hand over", SpanKind.INTERNAL):
                work.send(*(ParcelHandedOver(parcel_id=new_id()) for _ in range(count)))
