"""kill -9 at the worst moments, with real processes on real Kafka: each message once, in order per key."""

import asyncio
import signal
from pathlib import Path

import pytest

from chassis.database.pool import Database
from chassis.testing import SERVICE_KEY, empty_database
from ledger.dying import POINTS
from ledger.main import service
from ledger.messages import Book
from ledger.process import RUN, running
from ledger.waiting import until
from local.kafka import Kafka

MESSAGES, KEYS = 100, 7
pytestmark = pytest.mark.xdist_group("kafka")


async def write(database: Database, point: str) -> None:
    """From another process than the one that dies, in small transactions."""
    for start in range(0, MESSAGES, 5):
        async with database.work() as work:
            await work.begin()
            work.send(*(Book(account=f"{point} {it % KEYS}", number=it) for it in range(start, start + 5)))
        await asyncio.sleep(0.02)


async def histories(database: Database) -> dict[str, list[int]]:
    async with database.work() as work:
        rows = await work.read("SELECT id, history FROM accounts")
    return {row["id"]: row["history"] for row in rows}


async def all_is_done(database: Database) -> bool:
    return sum(map(len, (await histories(database)).values())) >= MESSAGES and await left(database) == 0


async def left(database: Database) -> int:
    async with database.work() as work:
        (row,) = await work.read("SELECT count(*) AS messages FROM outbox")
    return int(row["messages"])


@pytest.mark.parametrize("point", POINTS)
async def test_after_a_crash_each_message_is_applied_once_and_in_order(
    kafka: Kafka, tmp_path: Path, point: str
) -> None:
    url = await empty_database(service)
    database = Database("writer", service.settings.of("ledger", database_url=url, service_key=SERVICE_KEY))
    settings = {"DATABASE_URL": url, "KAFKA_BOOTSTRAP_SERVERS": kafka.address}
    async with running(tmp_path, "ledger.dying", point, **settings) as dying:
        await dying.until("/readyz")
        writing = asyncio.create_task(write(database, point))
        assert await asyncio.wait_for(dying.process.wait(), 30) == -signal.SIGKILL
        await writing
    async with running(tmp_path, *RUN, **settings) as ledger:
        await until(lambda: all_is_done(database), 60)
        code, seconds = await ledger.stop()
    assert (code, seconds < 10) == (0, True)
    assert await histories(database) == {f"{point} {key}": list(range(key, MESSAGES, KEYS)) for key in range(KEYS)}
    async with database.work() as work:
        sent = await work.read("SELECT type, count(DISTINCT id) AS ids, count(*) FROM outbox_history GROUP BY type")
    assert {row["type"]: (row["ids"], row["count"]) for row in sent} == {
        "ledger.book.v1": (MESSAGES, MESSAGES),
        "ledger.booked.v1": (MESSAGES, MESSAGES),
    }
    await database.close()
