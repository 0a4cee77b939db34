"""What the chassis makes of a broker: each message once, whatever comes. The ledger, a service of its tests, shows it.

Each test is a sentence, the same for memory, Kafka and Pulsar; `needs` names what a broker must be able to do for it.
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest

from brokers.asking import counted, dead_letters, history, until_booked, until_dead_lettered
from brokers.subject import HISTORY, PROCESSES, Subject, needs
from chassis.brokers.port import Broker, BrokerSubscription, BrokerUnavailable, StartPosition
from chassis.message import MAX_MESSAGE_BYTES, Envelope, MessageTooLarge
from chassis.process.instance import Instance
from chassis.process.ports import reserve_port
from chassis.testing import SERVICE_KEY, Launch, Launched, empty_database, launched
from ledger.between import Between, BetweenSubscription
from ledger.main import service
from ledger.messages import Book, Booked, Forgotten
from ledger.models import Account
from ledger.process import RUN, running
from ledger.waiting import until

BLOCKED_BY_ME = "SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"


async def test_an_unreadable_envelope_is_dead_lettered_with_its_key_and_others_flow(
    broker: Subject, launch: Launch, account: str
) -> None:
    ledger = await launch(service, broker=broker.connect())
    unreadable = Envelope.read(Book.topic, account, [("from", b"a stranger")], b"\xff?")
    await ledger.send(unreadable, Book(account=account, number=1), Book(account=f"{account} 2", number=2))
    await until_booked(ledger, f"{account} 2", [2])
    found = await until_dead_lettered(ledger, 2)
    assert [(it["key"], it["type"]) for it in found] == [(account, ""), (account, Book.wire_type)]
    assert await history(ledger, account) == []


async def test_a_type_to_which_nobody_subscribes_is_skipped_and_counted(
    broker: Subject, launch: Launch, account: str
) -> None:
    before = counted("messages_skipped", type=Forgotten.wire_type)
    ledger = await launch(service, broker=broker.connect())
    await ledger.send(Forgotten(account=account), Book(account=account, number=1))
    await until_booked(ledger, account, [1])
    assert counted("messages_skipped", type=Forgotten.wire_type) - before == 1
    assert await dead_letters(ledger) == []


async def test_fields_that_nobody_here_knows_pass(broker: Subject, launch: Launch, account: str) -> None:
    ledger = await launch(service, broker=broker.connect())
    known = ledger.envelope(Book(account=account, number=1))
    await ledger.send(replace(known, body=known.body[:-1] + b', "colour": {"name": "red"}}'))
    await until_booked(ledger, account, [1])


async def test_a_message_of_just_the_limit_passes_and_one_above_is_refused_before_the_commit(
    broker: Subject, launch: Launch, account: str
) -> None:
    ledger = await launch(service, broker=broker.connect())
    room = MAX_MESSAGE_BYTES - len(ledger.envelope(Book(account=account, number=1)).body)
    database = ledger.instance.database
    with pytest.raises(MessageTooLarge, match=f"{Book.wire_type} {account}: {MAX_MESSAGE_BYTES + 1} of"):
        async with database.work() as work:
            await work.begin()
            work.add(Account.new(id=f"{account} 2", history=[]))
            work.send(Book(account=account, number=1, text="x" * (room + 1)))
    async with database.work() as work:
        await work.begin()
        work.send(Book(account=account, number=1, text="x" * room))
    await until_booked(ledger, account, [1])
    assert [it.id for it in await ledger.rows(Account)] == [account]


class LosesAcknowledgement(Between):
    """A broker that is away just when the first batch with messages of this key is to be acknowledged."""

    def __init__(self, broker: Broker, key: str) -> None:
        super().__init__(broker)
        self.key, self.forgot = key, False

    async def subscribe(
        self, topics: Sequence[str], group: str, start: StartPosition = StartPosition.BEGINNING
    ) -> BrokerSubscription:
        return LosesAcknowledgementSubscription(await super().subscribe(topics, group, start), self)


class LosesAcknowledgementSubscription(BetweenSubscription):
    def __init__(self, subscription: BrokerSubscription, broker: LosesAcknowledgement) -> None:
        super().__init__(subscription)
        self._broker = broker
        self._keys: set[str] = set()

    async def receive(self, limit: int) -> list[Envelope]:
        received = await super().receive(limit)
        self._keys = {envelope.key for envelope in received}
        return received

    async def acknowledge(self) -> None:
        if not self._broker.forgot and self._broker.key in self._keys:
            self._broker.forgot = True
            raise BrokerUnavailable("just now")
        await super().acknowledge()


async def test_what_was_committed_and_not_acknowledged_comes_again_and_changes_nothing(
    broker: Subject, launch: Launch, account: str
) -> None:
    losing = LosesAcknowledgement(broker.connect(), account)
    before = counted("messages_duplicate")
    ledger = await launch(service, broker=losing)
    await ledger.send(*(Book(account=account, number=number) for number in range(5)))

    async def has_come_again() -> bool:
        return losing.forgot and counted("messages_duplicate") > before

    await until(has_come_again, 30)
    await ledger.send(Book(account=account, number=5))
    await until_booked(ledger, account, range(6))
    await ledger.settled()
    assert len(await ledger.sent(Booked)) == 6


@needs(HISTORY)
async def test_a_group_that_is_set_back_gets_its_messages_again_and_they_change_nothing(
    broker: Subject, account: str
) -> None:
    url = await empty_database(service)

    def another_life() -> AbstractAsyncContextManager[Launched]:
        settings = service.settings.of("ledger", database_url=url, service_key=SERVICE_KEY, port=reserve_port())
        connection = broker.connect()
        return launched(Instance(service, settings, connection), cast(Any, connection))

    moment = datetime.now(UTC)
    async with another_life() as ledger:
        await ledger.send(*(Book(account=account, number=number) for number in range(5)))
        await until_booked(ledger, account, range(5))
    await broker.connect().rewind([Book.topic], "ledger", moment)
    before = counted("messages_duplicate")
    async with another_life() as ledger:
        await until(lambda: counted("messages_duplicate") >= before + 5, 30)
        await ledger.send(Book(account=account, number=5))
        await until_booked(ledger, account, range(6))
        await ledger.settled()
        assert len(await ledger.sent(Booked)) == 6


@needs(PROCESSES)
async def test_a_service_that_is_asked_to_stop_with_a_batch_in_hand_ends_well_and_books_each_message_once(
    broker: Subject, account: str, tmp_path: Path
) -> None:
    settings = {"DATABASE_URL": await empty_database(service), **broker.settings}
    connection = await asyncpg.connect(settings["DATABASE_URL"])

    async def is_booked(*numbers: int) -> bool:
        found = await connection.fetchval("SELECT history FROM accounts WHERE id = $1", account)
        return found is not None and json.loads(found) == list(numbers)

    async def is_held_up() -> bool:
        return bool(await connection.fetch(BLOCKED_BY_ME))

    def bookings(*numbers: int) -> list[Envelope]:
        return [Launched.envelope(Book(account=account, number=number)) for number in numbers]

    async def is_no_longer_listening() -> bool:
        return await ledger.get("/livez") is None

    publisher = broker.connect()
    async with running(tmp_path, *RUN, **settings) as ledger:
        await ledger.until("/readyz")
        await publisher.publish(bookings(0))
        await until(lambda: is_booked(0), 60)
        async with connection.transaction():
            await connection.fetch("SELECT FROM accounts WHERE id = $1 FOR UPDATE", account)
            await publisher.publish(bookings(1, 2, 3))
            await until(is_held_up, 60)
            stopping = asyncio.create_task(ledger.stop())
            await until(is_no_longer_listening, 60)
        code, seconds = await stopping
    assert (code, seconds < 10) == (0, True)
    async with running(tmp_path, *RUN, **settings):
        await until(lambda: is_booked(0, 1, 2, 3), 60)
    await connection.close()
