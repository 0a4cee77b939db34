"""From a transaction to a consumer: relays on a real database in front of each broker.

Each test is a sentence, the same for memory, Kafka and Pulsar; `needs` names what a broker must be able to do for it.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from brokers.member import Noting, count_of, in_order
from brokers.stream import Put, dealt, envelopes, streaming
from brokers.subject import PROCESSES, RESTART, Subject, needs
from chassis.database.pool import Database
from chassis.message import Envelope
from chassis.messaging import relay
from chassis.messaging.relay import BATCH
from ledger import relays
from ledger.process import running
from ledger.relays import cut_a_connection, relaying, until_empty, until_shares
from ledger.waiting import until

RELAY = ("chassis.process.run", "ledger", "relay")
BODY_BYTES = 8192
GROWTH_BYTES = 24 * 2**20  # of a relay; what waits for it is twice as much


@pytest.fixture
async def databases(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[], Database]]:
    monkeypatch.setattr(relay, "POLL_SECONDS", 0.1)  # how soon the shards of a dead relay are taken over
    async with relays.databases() as another:
        yield another


def outbox_of(database: Database) -> Put:
    """A transaction that writes them to the outbox."""

    async def put(messages: Sequence[Envelope]) -> None:
        async with database.work() as work:
            await work.begin()
            work.messages.extend(messages)

    return put


async def more_of(member: Noting, count: int) -> None:
    before = count_of(member)
    await until(lambda: count_of(member) >= before + count, 60)


async def test_several_relays_keep_the_order_of_each_key_also_when_one_loses_its_connection(
    broker: Subject, databases: Callable[[], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BATCH", 20)
    database, member = databases(), await broker.join("member")
    async with AsyncExitStack() as three:
        for _ in range(3):
            await three.enter_async_context(relaying(databases(), broker.connect()))
        await until_shares(database, lambda it: len(it) == 3 and it[0] >= 4)
        async with streaming(outbox_of(database), broker.topic) as stream:
            for _ in range(3):
                await more_of(member, 60)
                await cut_a_connection(database)
        await until(lambda: count_of(member) >= stream.count, 60)
        await until_empty(database)
    assert in_order(member) == dealt(stream.count)


@needs(PROCESSES)
async def test_the_messages_of_a_relay_killed_with_9_are_published_by_another_in_order(
    broker: Subject, databases: Callable[[], Database], tmp_path: Path
) -> None:
    database, member = databases(), await broker.join("member")
    settings = {"DATABASE_URL": database.settings.database_url, **broker.settings}
    async with running(tmp_path, *RELAY, **settings) as dying, relaying(databases(), broker.connect()):
        await dying.until("/readyz")
        async with streaming(outbox_of(database), broker.topic) as stream:
            await until(lambda: count_of(member) >= 100, 60)
            await until_shares(database, lambda it: len(it) == 2)
            await more_of(member, 100)
            dying.process.send_signal(signal.SIGKILL)
        await until(lambda: count_of(member) >= stream.count, 60)
        await until_empty(database)
    assert in_order(member) == dealt(stream.count)


@needs(RESTART)
@pytest.mark.parametrize("seconds", [8, pytest.param(60, marks=pytest.mark.long)])
async def test_a_relay_that_cannot_reach_the_broker_loses_nothing_holds_bounded_memory_and_catches_up_in_order(
    broker: Subject, databases: Callable[[], Database], tmp_path: Path, seconds: float
) -> None:
    database, member = databases(), await broker.join("member", batch=200)
    put, count = outbox_of(database), 2 * GROWTH_BYTES // BODY_BYTES
    settings = {"DATABASE_URL": database.settings.database_url, **broker.settings}
    sent = [replace(it, body=it.body.ljust(BODY_BYTES)) for it in envelopes(broker.topic, range(count))]
    async with running(tmp_path, *RELAY, **settings) as relay:
        process = psutil.Process(relay.process.pid)
        await put(sent[:BATCH])
        await until(lambda: count_of(member) == BATCH, 60)
        before = most = process.memory_info().rss
        async with broker.away():
            for start in range(BATCH, count, 1000):
                await put(sent[start : start + 1000])
            for _ in range(int(seconds * 10)):
                await asyncio.sleep(0.1)
                most = max(most, process.memory_info().rss)
        async with asyncio.timeout(90):
            while count_of(member) < count:
                await asyncio.sleep(0.1)
                most = max(most, process.memory_info().rss)
        await until_empty(database, 60)
    assert in_order(member) == dealt(count)
    assert most - before < GROWTH_BYTES
