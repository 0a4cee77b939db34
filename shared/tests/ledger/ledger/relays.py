"""Relays of the ledger beside each other, what is written for them, and what may happen to them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from chassis.brokers.port import Broker
from chassis.database.pool import Database
from chassis.database.sql import SHARDS
from chassis.messaging.relay import LOCKS, Relay
from chassis.testing import SERVICE_KEY, empty_database
from ledger.main import service
from ledger.messages import Booked
from ledger.models import Account
from ledger.waiting import until


@asynccontextmanager
async def databases() -> AsyncIterator[Callable[[], Database]]:
    """The ledger's, emptied. Each is as another process would have it."""
    url = await empty_database(service)
    async with AsyncExitStack() as stack:

        def another() -> Database:
            settings = service.settings.of("ledger", database_url=url, service_key=SERVICE_KEY, database_pool_size=2)
            database = Database("ledger", settings)
            stack.push_async_callback(database.close)
            return database

        yield another


@asynccontextmanager
async def relaying(database: Database, broker: Broker, history: bool = True) -> AsyncIterator[Relay]:
    relay, stop = Relay(database, broker, history), asyncio.Event()
    running = asyncio.create_task(relay.run(stop))
    try:
        yield relay
    finally:
        stop.set()
        await running


async def book(database: Database, key: str, count: int = 1) -> None:
    for _ in range(count):
        async with database.work() as work:
            (account,) = await work.lock(Account, id=[key])
            account.balance += 1
            work.send(Booked(account=key, number=account.balance, balance=0))


async def open_accounts(database: Database, keys: Iterable[str]) -> None:
    async with database.work() as work:
        for key in keys:
            work.add(Account.new(id=key, history=[]))


async def counts(database: Database) -> tuple[int, int]:
    async with database.work() as work:
        (row,) = await work.read(
            "SELECT (SELECT count(*) FROM outbox) AS left, (SELECT count(*) FROM outbox_history) AS gone"
        )
    return row["left"], row["gone"]


async def until_empty(database: Database, seconds: float = 20) -> None:
    async def empty() -> bool:
        return (await counts(database))[0] == 0

    await until(empty, seconds)


async def shares(database: Database) -> list[int]:
    """How many shards each relay's connection owns."""
    sql = f"""
        SELECT count(*) FILTER (WHERE objid < {SHARDS}) AS shards FROM pg_locks
        WHERE locktype = 'advisory' AND classid = {LOCKS} AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY pid
    """
    async with database.work() as work:
        return sorted(row["shards"] for row in await work.read(sql))


async def until_shares(database: Database, fair: Callable[[list[int]], bool]) -> None:
    async def are_fair() -> bool:
        found = await shares(database)
        return sum(found) == SHARDS and fair(found)

    await until(are_fair)


async def cut_a_connection(database: Database) -> None:
    """Of one of its relays."""
    async with database.work() as work:
        await work.read(
            f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE classid = {LOCKS} AND objid = {SHARDS}"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " ORDER BY random() LIMIT 1"
        )
