"""The floor, a lower bound of the cost of an order: the same writes and sends without chassis, on the same servers."""

import asyncio
import json
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from loadtests.clients import CLIENTS
from loadtests.floor_nodes import NODES, TOPICS, run
from loadtests.floor_statements import TABLES
from loadtests.meter import Meter, Seconds, difference
from local.postgres import Postgres

PRODUCTS, PIECES = 1000, 1_000_000
MAX_CPU_MS = {"kafka": 10, "pulsar": 30}  # above this the machine is too busy to measure a lower bound
WARM_UP = 500
PATIENCE_SECONDS = 120


class FloorFailed(Exception):
    """The floor lost or duplicated something, or did not finish, so its result is invalid."""


@dataclass(frozen=True)
class Floor:
    """CPU seconds by process for a number of orders."""

    broker: str
    orders: int
    seconds: Seconds

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per order."""
        return sum(self.seconds.values()) * 1000 / self.orders

    @property
    def valid(self) -> bool:
        return self.cpu_ms <= MAX_CPU_MS[self.broker]


@dataclass(frozen=True)
class FloorServers:
    """The servers that the floor uses. `pids` are the processes of PostgreSQL and of the broker, by name."""

    postgres: Postgres
    broker: str
    address: str
    pids: dict[str, int]


async def measure(servers: FloorServers, orders: int, at_once: int, warm_up: int = WARM_UP) -> Floor:
    """Carry out a number of orders, and check them."""
    async with _floor(servers, at_once) as floor:
        await floor.run_orders(warm_up)
        meter = Meter(servers.pids | floor.pids)
        before = meter.seconds()
        await floor.run_orders(orders)
        seconds = difference(before, meter.seconds())
        await floor.check()
    return Floor(servers.broker, orders, seconds)


@dataclass
class _RunningFloor:
    databases: dict[str, "asyncpg.Connection[Any]"]
    pids: dict[str, int]
    order: Connection
    at_once: int
    customers: list[UUID]
    products: list[UUID]

    async def run_orders(self, orders: int) -> None:
        """Fill carts with two lines, check them out, and wait until all orders are finished in every database."""
        customers = [uuid4() for _ in range(orders)]
        self.customers += customers
        carts = [(uuid4(), customer, *_lines(self.products)) for customer in customers]
        await self.databases["order"].executemany("INSERT INTO carts VALUES ($1, $2, $3, $4)", carts)
        self.order.send((customers, self.at_once))
        await asyncio.to_thread(self.order.recv)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self._count_unfinished():  # noqa: ASYNC110  # another process sets no event
                await asyncio.sleep(0.1)

    async def _count_unfinished(self) -> int:
        undone = """SELECT $1 - count(*) FROM orders
            WHERE status = 'delivered' AND payment = 'captured' AND stock = 'committed'"""
        unseen = "SELECT $1 - count(*) FROM orders WHERE version = 5"
        left: int = await self.databases["order"].fetchval(undone, len(self.customers))
        left = left or await self.databases["aggregator"].fetchval(unseen, len(self.customers))
        for database in self.databases.values():
            left = left or await database.fetchval("SELECT count(*) FROM outbox")
        return left

    async def check(self) -> None:
        """Every order was carried out exactly once, and stock and money balance."""
        orders = len(self.customers)
        cents = await self.databases["order"].fetchval("SELECT sum(total_cents) FROM orders")
        pieces = await self.databases["order"].fetchval(
            "SELECT sum((l->>'quantity')::int) FROM orders, jsonb_array_elements(lines) l"
        )
        for name, question, answer in [
            ("order", "SELECT count(*), count(DISTINCT customer_id), min(version), max(version) FROM orders",
             (orders, orders, 5, 5)),
            ("order", "SELECT count(*), sum(version) FROM steps", (5 * orders, 15 * orders)),
            ("order", "SELECT count(*) FROM carts", (0,)),
            ("product", "SELECT sum(on_hand), sum(reserved) FROM stock", (PRODUCTS * PIECES - pieces, 0)),
            ("product", "SELECT count(*) FROM reservations WHERE hold = 'committed'", (orders,)),
            ("payment", "SELECT count(*), sum(amount_cents) FROM payments WHERE state = 'captured'", (orders, cents)),
            ("payment", "SELECT count(*) FROM attempts WHERE outcome IS NOT NULL", (2 * orders,)),
            ("shipping", "SELECT count(*) FROM shipments WHERE state = 'delivered'", (orders,)),
            ("aggregator", "SELECT count(*) FROM orders WHERE status = 'delivered'", (orders,)),
            *((name, "SELECT count(*) FROM inbox", (count * orders,)) for name, count in RECEIVED_PER_ORDER.items()),
        ]:  # fmt: skip
            found = tuple(await self.databases[name].fetchrow(question) or ())
            if found != answer:
                raise FloorFailed(f"{name}: {question} is {found}, not {answer}")


# How many messages of an order each process receives.
RECEIVED_PER_ORDER = {"order": 6, "product": 2, "payment": 2, "shipping": 1, "aggregator": 5}


@asynccontextmanager
async def _floor(servers: FloorServers, at_once: int) -> AsyncIterator[_RunningFloor]:
    """Start the five processes, with databases and topics of their own."""
    postgres = servers.postgres
    passwords = {f"floor_{name}": secrets.token_hex(8) for name in NODES}
    await asyncio.to_thread(postgres.create_databases, passwords)
    urls = {name: postgres.url(f"floor_{name}", passwords[f"floor_{name}"]) for name in NODES}
    databases = {name: await asyncpg.connect(url) for name, url in urls.items()}
    for name, database in databases.items():
        await database.execute(TABLES + NODES[name].tables)
    products = [uuid4() for _ in range(PRODUCTS)]
    stock = [(product, PIECES) for product in products]
    await databases["product"].executemany("INSERT INTO stock VALUES ($1, $2)", stock)
    prefix = f"floor-{uuid4().hex[:8]}."
    await _create_topics(servers, prefix)
    context, pipes = get_context("spawn"), {name: get_context("spawn").Pipe() for name in NODES}
    arguments = {name: (name, urls[name], servers.broker, servers.address, prefix, pipes[name][1]) for name in NODES}
    processes = {name: context.Process(target=run, args=arguments[name], daemon=True) for name in NODES}
    try:
        for process in processes.values():
            process.start()
        await asyncio.gather(*(asyncio.to_thread(pipes[name][0].recv) for name in NODES))
        pids = {name: process.pid or 0 for name, process in processes.items()}
        yield _RunningFloor(databases, pids, pipes["order"][0], at_once, [], products)
    finally:
        for process in processes.values():
            process.kill()
            process.join()
        for database in databases.values():
            await database.execute("DROP SCHEMA public CASCADE")
            await database.close()


async def _create_topics(servers: FloorServers, prefix: str) -> None:
    client = CLIENTS[servers.broker](servers.address)
    try:
        await client.create([prefix + topic for topic in TOPICS])
    finally:
        await client.close()


def _lines(products: list[UUID]) -> tuple[str, int]:
    """Two lines of different products as JSON, and their price in cents."""
    lines = [
        {"product_id": str(product), "name": "Alder Oak Desk Lamp", "quantity": 1, "price_cents": 4990}
        for product in random.sample(products, 2)
    ]
    return json.dumps(lines), 2 * 4990
