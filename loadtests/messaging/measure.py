"""What is measured of a way: rate and CPU, the relay before a backlog, and the time from commit to handler."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from statistics import quantiles

import asyncpg
import psutil

from chassis import metrics
from chassis.migrate import migrate
from chassis.outbox import BATCH
from loadtests.clients import AT_ONCE
from loadtests.load import at_once
from loadtests.messaging.hand_written import WRITERS
from loadtests.messaging.paths import ChassisPath, Path, PathSettings
from loadtests.messaging.service import BODY_BYTES, ParcelHandedOver, seen, service
from loadtests.meter import Meter, Seconds, spent
from local.postgres import Postgres
from local.server import LocalServer

PATIENCE_SECONDS = 120
COMMIT_SECONDS = 10  # for the commit of what a handler has seen
PAUSE_SECONDS = 0.05  # between two messages on an idle system
_FILL = f"""
INSERT INTO outbox (shard, topic, key, id, type, source, time, body, correlation_id)
SELECT n % 16, '{ParcelHandedOver.topic}', n, uuidv7(), '{ParcelHandedOver.wire_type}', 'parcels', now(), $2, n
FROM generate_series(1, $1::int) n
"""


class BenchFailed(Exception):
    """Something was lost, doubled, or does not come to its end: the numbers say nothing."""


@dataclass(frozen=True)
class Measurement:
    """So many messages, in seconds of the clock and CPU seconds by process."""

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
        """CPU milliseconds for a thousand messages, of all processes."""
        return sum(self.cpu.values()) * 1e6 / self.messages


@dataclass
class MessagingBench:
    """PostgreSQL and perhaps a broker, which the ways of messages use one after the other."""

    postgres: Postgres
    broker: str
    server: LocalServer | None = None
    address: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)  # that tell a service of the broker

    async def place(self, batch: int = 100) -> PathSettings:
        """With a database in which nothing has happened yet."""
        name = service.name
        await asyncio.to_thread(self.postgres.create_databases, {name: name})
        url = self.postgres.url(name, name)
        await migrate(service, url)
        database = await asyncpg.connect(url)
        await database.execute("TRUNCATE outbox, outbox_history, inbox, parcels")
        await database.close()
        return PathSettings(self.broker, self.address, self.settings, url, batch)

    def meter(self) -> Meter:
        """This process, in which both ends are, and the servers."""
        servers = {it.name: it.process.pid for it in (self.postgres, self.server) if it and it.process}
        return Meter({"python": psutil.Process().pid} | servers, alone=["python"])

    async def metered(self, messages: int, act: Callable[[], Awaitable[None]]) -> Measurement:
        meter = self.meter()
        before, started = meter.seconds(), time.monotonic()
        await act()
        return Measurement(messages, time.monotonic() - started, spent(before, meter.seconds()))

    async def throughput(self, way: type[Path], batch: int, messages: int, warm_up: int) -> Measurement:
        """Written and handled at the same time, `batch` of them in a transaction of either side."""
        place = await self.place(batch)
        async with way(place) as path:
            await _through(path, warm_up, batch)
            measured = await self.metered(messages, lambda: _through(path, messages, batch))
            if path.writes:
                await _audit(place, messages + warm_up)
            return measured

    async def latency(self, way: type[Path], messages: int) -> tuple[float, float]:
        """Seconds from the end of the commit to the call of the handler, p50 and p99, one message at a time."""
        found = []
        async with way(await self.place()) as path:
            await _through(path, messages, 1)
            for _ in range(messages):
                await asyncio.sleep(PAUSE_SECONDS)
                awaited = seen.count + 1
                await path.produce(1)
                committed = time.monotonic()
                await _seen(awaited)
                found.append(max(0.0, seen.at - committed))
        cuts = quantiles(found, n=100, method="inclusive")
        return cuts[49], cuts[98]

    async def relay(self, messages: int, behind: int = 0) -> Measurement:
        """The relay alone, which publishes so many messages while so many more wait behind them in the outbox."""
        place = await self.place()
        database = await asyncpg.connect(place.database_url)
        # The first batch is not measured: with it comes what a relay does once.
        await database.execute(_FILL, BATCH + messages + behind, b"n" * BODY_BYTES, timeout=PATIENCE_SECONDS)
        await database.execute("VACUUM ANALYZE outbox", timeout=PATIENCE_SECONDS)
        await database.close()
        await asyncio.to_thread(self.postgres.flush)  # what it left to be written is not the relay's
        begins = _published() + BATCH
        async with ChassisPath(place, "relay"):
            await _until(lambda: _published() >= begins, "published")
            return await self.metered(messages, lambda: _until(lambda: _published() >= begins + messages, "published"))


async def _through(path: Path, messages: int, batch: int) -> None:
    """So many in a transaction; of a client alone as many at once as a relay gives it."""
    until = seen.count + messages
    lot, writers = (batch, WRITERS) if path.writes else (AT_ONCE, 1)
    lots = [lot] * (messages // lot) + [messages % lot] * (messages % lot > 0)
    await at_once(writers, [path.produce(count) for count in lots])
    await _seen(until)


async def _seen(count: int) -> None:
    await _until(lambda: seen.count >= count, "handled")


async def _until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise BenchFailed(f"not all was {what} after {PATIENCE_SECONDS} s")
        await asyncio.sleep(0.005)


def _published() -> float:
    """So many were published in this process, by the counter that a service has of it."""
    samples = [sample for metric in metrics.published.collect() for sample in metric.samples]
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


async def _audit(place: PathSettings, messages: int) -> None:
    """Every message made its row, once."""
    database = await asyncpg.connect(place.database_url)
    end = time.monotonic() + COMMIT_SECONDS
    while (rows := await database.fetchval("SELECT count(*) FROM parcels")) != messages:
        if time.monotonic() > end:
            raise BenchFailed(f"{rows} rows of {messages} messages")
        await asyncio.sleep(0.05)
    await database.close()
