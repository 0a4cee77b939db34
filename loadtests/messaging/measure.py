"""The measurements of a path: rate and CPU, latency from commit to handler, and the relay before a backlog."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from statistics import quantiles

import asyncpg
import psutil

from chassis.messaging.relay import BATCH
from chassis.process.migrate import migrate
from chassis.telemetry import metrics
from loadtests.clients import SEND_BATCH
from loadtests.load import run_concurrently
from loadtests.messaging.hand_written import WRITERS
from loadtests.messaging.paths import ChassisPath, MessagePath, PathSettings
from loadtests.messaging.service import BODY_BYTES, ParcelHandedOver, handled, service
from loadtests.meter import Meter, Seconds, difference
from local.postgres import Postgres
from local.server import LocalServer

PATIENCE_SECONDS = 120
COMMIT_SECONDS = 10  # for the commit that follows the last handled message
PAUSE_SECONDS = 0.05  # between two messages on an idle system
_FILL = f"""
INSERT INTO outbox (shard, topic, key, id, type, source, time, body, correlation_id)
SELECT n % 16, '{ParcelHandedOver.topic}', n, uuidv7(), '{ParcelHandedOver.wire_type}', 'parcels', now(), $2, n
FROM generate_series(1, $1::int) n
"""


class BenchFailed(Exception):
    """A message was lost or duplicated, or the run did not finish, so the result is invalid."""


@dataclass(frozen=True)
class Measurement:
    """A number of messages, the seconds that they took, and CPU seconds by process."""

    messages: int
    seconds: float
    cpu: Seconds

    def __add__(self, other: "Measurement") -> "Measurement":
        cpu = {name: seconds + other.cpu[name] for name, seconds in self.cpu.items()}
        return Measurement(self.messages + other.messages, self.seconds + other.seconds, cpu)

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds of all processes for a thousand messages."""
        return sum(self.cpu.values()) * 1e6 / self.messages


@dataclass
class MessagingBench:
    """PostgreSQL and, except for memory, a broker, which the paths use one after the other."""

    postgres: Postgres
    broker: str
    server: LocalServer | None = None
    address: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)  # of a service, about the broker

    async def prepare_path(self, batch: int = 100) -> PathSettings:
        """Settings of a path, with an empty database."""
        name = service.name
        await asyncio.to_thread(self.postgres.create_databases, {name: name})
        url = self.postgres.url(name, name)
        await migrate(service, url)
        database = await asyncpg.connect(url)
        await database.execute("TRUNCATE outbox, outbox_history, inbox, parcels")
        await database.close()
        return PathSettings(self.broker, self.address, self.settings, url, batch)

    def meter(self) -> Meter:
        """Measures this process, with producer and consumer, and the servers."""
        servers = {it.name: it.process.pid for it in (self.postgres, self.server) if it and it.process}
        return Meter({"python": psutil.Process().pid} | servers, alone=["python"])

    async def measure(self, messages: int, act: Callable[[], Awaitable[None]]) -> Measurement:
        meter = self.meter()
        before, started = meter.seconds(), time.monotonic()
        await act()
        return Measurement(messages, time.monotonic() - started, difference(before, meter.seconds()))

    async def throughput(self, path_type: type[MessagePath], batch: int, messages: int, warm_up: int) -> Measurement:
        """Messages are written and handled at the same time, `batch` of them in one transaction of either side."""
        settings = await self.prepare_path(batch)
        async with path_type(settings) as path:
            await _send_through(path, warm_up, batch)
            measured = await self.measure(messages, lambda: _send_through(path, messages, batch))
            if path.writes:
                await _audit(settings, messages + warm_up)
            return measured

    async def latency(self, path_type: type[MessagePath], messages: int) -> tuple[float, float]:
        """Seconds from the end of the commit to the call of the handler, p50 and p99, one message at a time."""
        found = []
        async with path_type(await self.prepare_path()) as path:
            await _send_through(path, messages, 1)
            for _ in range(messages):
                await asyncio.sleep(PAUSE_SECONDS)
                awaited = handled.count + 1
                await path.produce(1)
                committed = time.monotonic()
                await _wait_until_handled(awaited)
                found.append(max(0.0, handled.at - committed))
        cuts = quantiles(found, n=100, method="inclusive")
        return cuts[49], cuts[98]

    async def relay(self, messages: int, behind: int = 0) -> Measurement:
        """The relay alone, which publishes messages while a backlog waits behind them in the outbox."""
        settings = await self.prepare_path()
        database = await asyncpg.connect(settings.database_url)
        # The first batch is not measured: it includes what a relay does once.
        await database.execute(_FILL, BATCH + messages + behind, b"n" * BODY_BYTES, timeout=PATIENCE_SECONDS)
        await database.execute("VACUUM ANALYZE outbox", timeout=PATIENCE_SECONDS)
        await database.close()
        await asyncio.to_thread(self.postgres.checkpoint)  # the relay is not to pay for dirty pages of the insert
        begins = _published() + BATCH
        async with ChassisPath(settings, "relay"):
            await _wait_until(lambda: _published() >= begins, "published")
            return await self.measure(
                messages, lambda: _wait_until(lambda: _published() >= begins + messages, "published")
            )


async def _send_through(path: MessagePath, messages: int, batch: int) -> None:
    """Send messages, `batch` in a transaction; to a client alone as many at once as a relay sends."""
    until = handled.count + messages
    lot, writers = (batch, WRITERS) if path.writes else (SEND_BATCH, 1)
    lots = [lot] * (messages // lot) + [messages % lot] * (messages % lot > 0)
    await run_concurrently(writers, [path.produce(count) for count in lots])
    await _wait_until_handled(until)


async def _wait_until_handled(count: int) -> None:
    await _wait_until(lambda: handled.count >= count, "handled")


async def _wait_until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise BenchFailed(f"not all messages were {what} after {PATIENCE_SECONDS} s")
        await asyncio.sleep(0.005)


def _published() -> float:
    """How many messages this process has published, from the counter of the chassis."""
    samples = [sample for metric in metrics.published.collect() for sample in metric.samples]
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


async def _audit(settings: PathSettings, messages: int) -> None:
    """Check that every message has made one row."""
    database = await asyncpg.connect(settings.database_url)
    end = time.monotonic() + COMMIT_SECONDS
    while (rows := await database.fetchval("SELECT count(*) FROM parcels")) != messages:
        if time.monotonic() > end:
            raise BenchFailed(f"{rows} rows of {messages} messages")
        await asyncio.sleep(0.05)
    await database.close()
