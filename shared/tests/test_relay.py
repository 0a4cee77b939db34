"""The relay: in order per key with several of them, woken at once, and nothing lost."""

import asyncio
import logging
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from chassis.brokers.memory import MemoryBroker
from chassis.brokers.port import BrokerUnavailable
from chassis.database.pool import Database
from chassis.database.sql import SHARDS
from chassis.message import Envelope
from chassis.messaging import relay
from chassis.messaging.relay import Relay
from ledger import relays
from ledger.between import Between
from ledger.messages import Booked
from ledger.relays import book, counts, cut_a_connection, open_accounts, relaying, until_empty, until_shares
from ledger.waiting import until

CUTS = 3
KEYS = [f"key {number}" for number in range(7)]


class Recorder(Between):
    """A broker that remembers, with the pauses and failures of a real one."""

    def __init__(self) -> None:
        super().__init__(MemoryBroker())
        self.published: list[Envelope] = []
        self.away = False
        self.calls = 0

    async def publish(self, envelopes: Sequence[Envelope]) -> None:
        self.calls += 1
        stored = list(envelopes)
        if self.away:
            self.published += stored[: len(stored) // 2]  # some may be stored
            raise BrokerUnavailable("nobody there")
        for envelope in stored:
            self.published.append(envelope)
            if random.random() < 0.05:
                await asyncio.sleep(0.002)

    def numbers(self) -> dict[str, list[int]]:
        """Of each key, in the order of their first coming: a group's inbox drops what comes again."""
        found: dict[str, dict[int, None]] = defaultdict(dict)
        for envelope in self.published:
            found[envelope.key][Booked.model_validate_json(envelope.body).number] = None
        return {key: list(numbers) for key, numbers in found.items()}


@pytest.fixture
async def databases() -> AsyncIterator[Callable[[], Database]]:
    async with relays.databases() as another:
        yield another


async def test_order_per_key_holds_while_relays_come_and_die(
    databases: Callable[[], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(relay, "BATCH", 7)
    writers, recorder = [databases(), databases()], Recorder()
    await open_accounts(writers[0], KEYS)
    writing = [asyncio.create_task(book(writers[number % 2], key, 40)) for number, key in enumerate([*KEYS, *KEYS[:3]])]
    dying = asyncio.create_task(Relay(databases(), recorder, True).run(asyncio.Event()))
    async with relaying(databases(), recorder), relaying(databases(), recorder):
        await until_shares(writers[0], lambda it: len(it) == 3 and it[0] >= 4)
        dying.cancel()
        for _ in range(CUTS):
            await cut_a_connection(writers[0])
            await asyncio.sleep(0.1)
        await asyncio.gather(*writing)
        await until_empty(writers[0])
    expected = {key: list(range(1, 81 if key in KEYS[:3] else 41)) for key in KEYS}
    assert recorder.numbers() == expected
    assert await counts(writers[0]) == (0, 400)
    assert len(recorder.published) <= 400 + relay.BATCH * (1 + CUTS)  # only what one had in hand came twice


@pytest.mark.parametrize("relays", [1, 2, 3, 5])
async def test_shards_are_shared_fairly(
    databases: Callable[[], Database], monkeypatch: pytest.MonkeyPatch, relays: int
) -> None:
    monkeypatch.setattr(relay, "POLL_SECONDS", 0.05)
    async with AsyncExitStack() as stack:
        for _ in range(relays):
            await stack.enter_async_context(relaying(databases(), Recorder()))
        share = -(-SHARDS // relays)
        await until_shares(databases(), lambda it: len(it) == relays and it[-1] <= share)


async def test_the_shards_of_a_relay_whose_connection_is_cut_are_taken_over(
    databases: Callable[[], Database], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(relay, "POLL_SECONDS", 0.1)
    database, recorder = databases(), Recorder()
    await open_accounts(database, KEYS)
    async with relaying(databases(), recorder), relaying(databases(), recorder):
        await until_shares(database, lambda it: it == [8, 8])
        await cut_a_connection(database)
        for key in KEYS:
            await book(database, key, 3)
        await until_empty(database)
        await until_shares(database, lambda it: it == [8, 8])
    assert recorder.numbers() == {key: [1, 2, 3] for key in KEYS}


async def test_while_the_broker_is_away_nothing_is_lost_and_it_is_said_once(
    databases: Callable[[], Database], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    database, recorder = databases(), Recorder()
    await open_accounts(database, KEYS)
    recorder.away = True
    async with relaying(databases(), recorder) as relay:
        for key in KEYS:
            await book(database, key, 5)
        await until(lambda: recorder.calls >= 4)
        assert "nobody there" in str(relay.outage.reason)
        assert await counts(database) == (35, 0)
        recorder.away = False
        await until_empty(database)
        assert relay.outage.reason is None
    assert recorder.numbers() == {key: [1, 2, 3, 4, 5] for key in KEYS}
    said = [it.getMessage() for it in caplog.records if "of the relay" in it.getMessage()]
    assert [text.split(" of the relay ")[1] for text in said] == ["is away; waiting for it", "is back"]


@pytest.mark.parametrize("writer_is", ["in its process", "in another process"])
async def test_a_relay_is_woken_at_once(
    databases: Callable[[], Database], monkeypatch: pytest.MonkeyPatch, writer_is: str
) -> None:
    monkeypatch.setattr(relay, "POLL_SECONDS", 60)
    here, recorder = databases(), Recorder()
    writer = here if writer_is == "in its process" else databases()
    await open_accounts(writer, KEYS)
    async with relaying(here, recorder):
        await until_shares(writer, lambda it: it == [SHARDS])
        await asyncio.sleep(0.2)  # it has looked, found nothing, and sleeps
        for number in range(1, 6):
            started = time.monotonic()
            await book(writer, KEYS[0])
            await until_empty(writer, 5)
            assert time.monotonic() - started < 3
            assert recorder.numbers() == {KEYS[0]: list(range(1, number + 1))}


async def test_a_resting_relay_does_not_look(
    databases: Callable[[], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "POLL_SECONDS", 60)
    publish, looks = Relay._publish, 0

    async def counting(self: Relay, session: Any) -> int:
        nonlocal looks
        looks += 1
        return await publish(self, session)

    monkeypatch.setattr(Relay, "_publish", counting)
    database = databases()
    await open_accounts(database, KEYS)
    async with relaying(database, Recorder()):
        await asyncio.sleep(1)
        assert looks == 1
        await book(database, KEYS[0], 3)
        await until_empty(database)
        assert looks <= 1 + 2 * 3


async def test_what_was_committed_before_the_end_is_still_published(databases: Callable[[], Database]) -> None:
    here, recorder = databases(), Recorder()
    await open_accounts(here, KEYS)
    async with relaying(here, recorder):
        await until_shares(here, lambda it: it == [SHARDS])
        await book(here, KEYS[0])
    assert recorder.numbers() == {KEYS[0]: [1]}
    assert await counts(here) == (0, 1)


@pytest.mark.parametrize("history", [True, False])
async def test_published_rows_go_away_or_into_the_history(databases: Callable[[], Database], history: bool) -> None:
    database = databases()
    await open_accounts(database, KEYS)
    await book(database, KEYS[0], 3)
    async with relaying(databases(), Recorder(), history):
        await until_empty(database)
    assert await counts(database) == (0, 3 if history else 0)


async def test_what_commits_late_is_not_skipped(databases: Callable[[], Database]) -> None:
    """A smaller position may become visible after a larger one was published."""
    early, late, recorder = databases(), databases(), Recorder()
    await open_accounts(early, KEYS)
    async with relaying(databases(), recorder):
        async with late.work() as work:
            await work.execute(
                "INSERT INTO outbox (shard, topic, key, id, type, source, time, body, correlation_id) SELECT 0, 't',"
                " 'late', gen_random_uuid(), 't', 's', now(), $1, 'c'",
                Booked(account="late", number=1, balance=0).model_dump_json().encode(),
            )
            await book(early, KEYS[0])
            await until(lambda: bool(recorder.published))
        await book(early, KEYS[1])
        await until_empty(early)
    assert recorder.numbers() == {KEYS[0]: [1], "late": [1], KEYS[1]: [1]}
