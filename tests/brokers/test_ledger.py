"""What the chassis makes of a broker: the ledger, a service of its tests, on memory, Kafka and Pulsar alike."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from brokers.conftest import Subject
from chassis.messaging.broker import Broker, BrokerUnavailable, Subscription
from chassis.messaging.message import Envelope
from chassis.testing import Launch, Launched
from ledger.main import service
from ledger.messages import Book, Booked, Forgotten
from ledger.models import Account
from ledger.waiting import until


@pytest.fixture
def account() -> str:
    """Of this test alone: a broker keeps the messages of the others."""
    return uuid4().hex


async def history(ledger: Launched, account: str) -> list[int]:
    return next((it.history for it in await ledger.rows(Account) if it.id == account), [])


async def parked(ledger: Launched) -> list[dict[str, Any]]:
    async with ledger.as_staff() as operator:
        found: list[dict[str, Any]] = (await operator.get("/internal/parked")).json()
    return found


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"{name}_total", {"service": "ledger", **labels}) or 0


async def test_an_unreadable_envelope_is_parked_with_its_key_and_others_flow(
    broker: Subject, launch: Launch, account: str
) -> None:
    ledger = await launch(service, broker=broker.connect())
    unreadable = Envelope.read(Book.topic, account, [("from", b"a stranger")], b"\xff?")
    await ledger.send(unreadable, Book(account=account, number=1), Book(account=f"{account} 2", number=2))

    async def other_is_booked() -> bool:
        return await history(ledger, f"{account} 2") == [2] and len(await parked(ledger)) == 2

    await until(other_is_booked, 30)
    assert [(it["key"], it["type"]) for it in await parked(ledger)] == [(account, ""), (account, Book.wire_type)]
    assert await history(ledger, account) == []


async def test_a_type_to_which_nobody_subscribes_is_skipped_and_counted(
    broker: Subject, launch: Launch, account: str
) -> None:
    before = counted("messages_skipped", type=Forgotten.wire_type)
    ledger = await launch(service, broker=broker.connect())
    await ledger.send(Forgotten(account=account), Book(account=account, number=1))

    async def is_booked() -> bool:
        return await history(ledger, account) == [1]

    await until(is_booked, 30)
    assert counted("messages_skipped", type=Forgotten.wire_type) - before == 1
    assert await parked(ledger) == []


class Forgetful:
    """A broker that is away just when the first batch with messages of this key is to be acknowledged."""

    def __init__(self, broker: Broker, key: str) -> None:
        self._broker, self.key, self.forgot = broker, key, False
        self.publish, self.close = broker.publish, broker.close

    async def subscribe(self, topics: Sequence[str], group: str) -> Subscription:
        return ForgetfulSubscription(await self._broker.subscribe(topics, group), self)


class ForgetfulSubscription:
    def __init__(self, subscription: Subscription, broker: Forgetful) -> None:
        self._subscription, self._broker = subscription, broker
        self._keys: set[str] = set()
        self.close = subscription.close

    async def receive(self, limit: int) -> list[Envelope]:
        received = await self._subscription.receive(limit)
        self._keys = {envelope.key for envelope in received}
        return received

    async def acknowledge(self) -> None:
        if not self._broker.forgot and self._broker.key in self._keys:
            self._broker.forgot = True
            raise BrokerUnavailable("just now")
        await self._subscription.acknowledge()


async def test_what_was_committed_and_not_acknowledged_comes_again_and_changes_nothing(
    broker: Subject, launch: Launch, account: str
) -> None:
    forgetful = Forgetful(broker.connect(), account)
    before = counted("messages_duplicate")
    ledger = await launch(service, broker=forgetful)
    await ledger.send(*(Book(account=account, number=number) for number in range(5)))

    async def has_come_again() -> bool:
        return forgetful.forgot and counted("messages_duplicate") > before

    await until(has_come_again, 30)
    await ledger.send(Book(account=account, number=5))

    async def is_told() -> bool:
        return len(await ledger.sent(Booked)) >= 6

    await until(is_told, 30)
    assert await history(ledger, account) == list(range(6))
    assert len(await ledger.sent(Booked)) == 6
