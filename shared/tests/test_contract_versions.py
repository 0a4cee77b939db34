"""A contract that has to change by more than addition: v1 and v2 side by side, until nobody reads v1 any more.

`priced.v1` has a price in euros, as a fraction; `priced.v2` has cents. The producer tells both for a while, its
consumers move when they like. `docs/contracts.md` tells the same story in words.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import registry
from sqlmodel import Field

from chassis.brokers.memory import MemoryBroker
from chassis.calls import Api, Layer
from chassis.database import Schema, Table, UnitOfWork, rows
from chassis.message import Command, Event, Message
from chassis.messaging import Subscriptions
from chassis.process.instance import Instance
from chassis.process.ports import reserve_port
from chassis.service import Service
from chassis.testing import SERVICE_KEY, Launched, empty_database, launched
from ledger.waiting import until
from tools.consumers import unmet_needs
from tools.contracts import schema_of

MIGRATION = """
from chassis.database import schema
revision, down_revision = "0001", None

def upgrade():
    schema.script("CREATE TABLE prices (product varchar PRIMARY KEY, version int, cents int, changes int)")
"""


class SetPrice(Command, wire_type="pricing.set_price.v1", key="product"):
    """The command to the producer."""

    product: str
    cents: int


class PricedV1(Event, wire_type="pricing.priced.v1", key="product"):
    """A product has a price, in euros; a fraction, which was a mistake."""

    product: str
    version: int
    price: float


class PricedV2(Event, wire_type="pricing.priced.v2", key="product"):
    """A product has a price."""

    product: str
    version: int
    price_cents: int


class Row(Table, registry=registry()):
    """A table of this test."""


class Price(Row, table=True):
    """What a service knows of a price, and how often it has changed."""

    __tablename__ = "prices"
    product: str = Field(primary_key=True)
    version: int = 0
    cents: int = 0
    changes: int = 0


def price_of(product: str, work: UnitOfWork) -> Price:
    return work.get(Price, product) or work.add(Price.new(product=product))


# The producer: one version of it after the other tells v1, both, and v2.


def v1(price: Price) -> PricedV1:
    return PricedV1(product=price.product, version=price.version, price=price.cents / 100)


def v2(price: Price) -> PricedV2:
    return PricedV2(product=price.product, version=price.version, price_cents=price.cents)


def producer(*told: Callable[[Price], Message]) -> Subscriptions:
    on = Subscriptions()

    @on(SetPrice, needs=rows(Price, product="product"))
    def set_price(command: SetPrice, work: UnitOfWork) -> None:
        price = price_of(command.product, work)
        price.version, price.cents = price.version + 1, command.cents
        work.send(*(version(price) for version in told))

    return on


# A consumer: a handler for each version; that of v1 makes a v2 of it.


def follow_v1(event: PricedV1, work: UnitOfWork) -> None:
    follow(PricedV2(product=event.product, version=event.version, price_cents=round(event.price * 100)), work)


def follow(event: PricedV2, work: UnitOfWork) -> None:
    price = price_of(event.product, work)
    if event.version > price.version:  # two messages tell of one change, each with an id of its own
        price.version, price.cents, price.changes = event.version, event.price_cents, price.changes + 1


def consumer(*types: type[Message]) -> Subscriptions:
    on = Subscriptions()
    for type_ in types:
        handler: Any = follow_v1 if type_ is PricedV1 else follow
        on(type_, needs=rows(Price, product="product"))(handler)
    return on


OLD, BOTH, NEW = consumer(PricedV1), consumer(PricedV1, PricedV2), consumer(PricedV2)

# One deployment after the other: what the producer tells, what its two consumers read, who keeps v1 alive.
DEPLOYMENTS: list[tuple[list[Callable[[Price], Message]], Subscriptions, Subscriptions, set[str]]] = [
    ([v1], OLD, OLD, {"label", "till"}),
    ([v1, v2], OLD, OLD, {"label", "till"}),
    ([v1, v2], BOTH, OLD, {"label", "till"}),
    ([v1, v2], NEW, OLD, {"till"}),
    ([v1, v2], NEW, BOTH, {"till"}),
    ([v1, v2], NEW, NEW, set()),
    ([v2], NEW, NEW, set()),
]


class System:
    """Services on one broker. Each keeps its database from one of its versions to the next."""

    def __init__(self, folder: Path) -> None:
        self.broker = MemoryBroker()
        self._urls = dict[str, str]()
        self._schema = Schema(Price.metadata, folder / "migrations")
        (folder / "migrations").mkdir()
        (folder / "migrations" / "0001_prices.py").write_text(MIGRATION)

    def service(self, name: str, on: Subscriptions) -> Service:
        return Service(Api(name, Layer.SYSTEM), subscriptions=on, schema=self._schema)

    @asynccontextmanager
    async def running(self, **versions: Subscriptions) -> AsyncIterator[list[Launched]]:
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self._running(name, on)) for name, on in versions.items()]

    @asynccontextmanager
    async def _running(self, name: str, on: Subscriptions) -> AsyncIterator[Launched]:
        service = self.service(name, on)
        if name not in self._urls:
            self._urls[name] = await empty_database(service)
        settings = service.settings.of(
            name, database_url=self._urls[name], service_key=SERVICE_KEY, port=reserve_port(), broker="memory"
        )
        async with launched(Instance(service, settings, self.broker), self.broker) as it:
            yield it


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


TEA = Price.new(product="tea", version=1, cents=250)


async def known(it: Launched) -> list[tuple[str, int, int, int]]:
    return sorted((row.product, row.version, row.cents, row.changes) for row in await it.rows(Price))


async def inbox(it: Launched) -> int:
    async with it.instance.database.work() as work:
        (row,) = await work.read("SELECT count(*) FROM inbox")
    return int(row["count"])


async def test_consumers_move_one_after_the_other_and_miss_nothing(system: System) -> None:
    for number, (told, label_reads, till_reads, _) in enumerate(DEPLOYMENTS, start=1):
        async with system.running(pricing=producer(*told), label=label_reads, till=till_reads) as (
            pricing,
            label,
            till,
        ):
            await pricing.send(SetPrice(product="tea", cents=number * 100), SetPrice(product="tea", cents=number))
            expected = [("tea", 2 * number, number, 2 * number)]
            assert await known(label) == await known(till) == expected


@pytest.mark.parametrize(("told", "label", "till", "alive"), DEPLOYMENTS)
def test_v1_may_go_when_nobody_reads_it(
    system: System, told: object, label: Subscriptions, till: Subscriptions, alive: Iterable[str]
) -> None:
    """What `make check` would say if v1 were taken away now."""
    services = {"label": system.service("label", label), "till": system.service("till", till)}
    missed = list(unmet_needs(services, {PricedV2.wire_type: schema_of(PricedV2)}))
    assert missed == [f"{who} subscribes to pricing.priced.v1, and there is no such contract" for who in sorted(alive)]


async def test_both_of_a_pair_are_recorded_and_change_the_price_once(system: System) -> None:
    async with system.running(pricing=producer(v1, v2), label=BOTH) as (pricing, label):
        await pricing.send(SetPrice(product="tea", cents=250))
        assert (await known(label), await inbox(label)) == ([("tea", 1, 250, 1)], 2)


async def test_a_deployment_between_the_two_of_a_pair(system: System) -> None:
    """The old version had v1 and ended; the new one gets v2."""
    async with system.running(label=OLD) as (label,):
        pair = [label.envelope(it) for it in (v1(TEA), v2(TEA))]
        await label.send(pair[0])
    async with system.running(label=BOTH) as (label,):
        await label.send(pair[1])
        assert await known(label) == [("tea", 1, 250, 1)]


@pytest.mark.parametrize(("reads", "seen"), [(BOTH, [("tea", 1, 250, 1)]), (NEW, [])])
async def test_what_was_told_as_v1_alone_reaches_only_those_who_read_both(
    system: System, reads: Subscriptions, seen: list[Any]
) -> None:
    """So a consumer reads both until its backlog has no message from before the producer sent both."""

    async def waits() -> bool:
        return (await system.broker.lag([PricedV1.topic], "label"))[PricedV1.topic] > 0

    async with system.running(label=OLD):
        pass  # it has joined, so messages wait while it is away
    async with system.running(pricing=producer(v1)) as (pricing,):
        telling = asyncio.create_task(pricing.send(SetPrice(product="tea", cents=250)))
        await until(waits)
        async with system.running(label=reads) as (label,):
            await telling
            assert await known(label) == seen
