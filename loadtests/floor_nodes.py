"""The five processes of the floor: asyncpg, the broker's own client, inbox and outbox, one transaction per batch."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from loadtests import floor_statements as sql
from loadtests.clients import CLIENTS, Client, Record

BATCH = 500
ACCEPTING_CONNECTIONS = 8
_INBOX = "INSERT INTO inbox (id) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING RETURNING id"
_OUTBOX = f"SELECT position, topic, key, id, type, body FROM outbox ORDER BY position LIMIT {BATCH}"
_PUBLISHED = "DELETE FROM outbox WHERE position = ANY($1::bigint[])"


@dataclass(frozen=True)
class Node:
    """A process: its tables, its topics, a statement for each type of message, and statements that follow the commit.

    The types are listed in the order in which an order's messages come; a batch is handled in that order.
    """

    tables: str
    topics: Sequence[str]
    handlers: dict[tuple[str, ...], str]
    afterwards: Sequence[str] = ()


NODES = {
    "order": Node(
        sql.ORDER_TABLES,
        ["product.events", "payment.events", "shipping.events"],
        {(type_,): statement for type_, statement in sql.ORDER.items()},
    ),
    "product": Node(
        sql.PRODUCT_TABLES, ["product.commands"], {("ReserveStock",): sql.RESERVE, ("CommitStock",): sql.COMMIT}
    ),
    "payment": Node(
        sql.PAYMENT_TABLES,
        ["payment.commands"],
        {("AuthorizePayment",): sql.AUTHORIZE, ("CapturePayment",): sql.CAPTURE},
        [
            sql.record_outcome("authorize", "authorized", "PaymentAuthorized"),
            sql.record_outcome("capture", "captured", "PaymentCaptured"),
        ],
    ),
    "shipping": Node(
        sql.SHIPPING_TABLES,
        ["shipping.commands"],
        {("CreateShipment",): sql.SHIP},
        [sql.change_shipments("creating", "accepted", "now()"), sql.DISPATCHED, sql.DELIVERED],
    ),
    "aggregator": Node(
        sql.AGGREGATOR_TABLES,
        ["order.events"],
        {("OrderPlaced", "OrderReserved", "OrderConfirmed", "OrderShipped", "OrderDelivered"): sql.SHOW},
    ),
}
TOPICS = sorted({topic for node in NODES.values() for topic in node.topics})


def run(name: str, database_url: str, broker: str, address: str, prefix: str, parent: Connection) -> None:
    """The main function of a process. All topics have the prefix of this floor."""
    asyncio.run(NodeProcess(NODES[name], database_url, prefix).run(name, broker, address, parent))


class NodeProcess:
    def __init__(self, node: Node, database_url: str, prefix: str) -> None:
        self._node, self._url, self._prefix = node, database_url, prefix
        self._written = asyncio.Event()

    async def run(self, name: str, broker: str, address: str, parent: Connection) -> None:
        async with asyncio.TaskGroup() as parts:
            client = CLIENTS[broker](address)
            await client.subscribe([self._prefix + topic for topic in self._node.topics], self._prefix + name)
            parts.create_task(self._relay(client))
            parts.create_task(self._consume(client))
            parent.send("ready")
            if name == "order":
                parts.create_task(self._accept(parent))

    async def _accept(self, parent: Connection) -> None:
        """Accept orders of the customers that the parent sends, several at once, each in a transaction of its own."""
        pool = await asyncpg.create_pool(self._url, min_size=ACCEPTING_CONNECTIONS, max_size=ACCEPTING_CONNECTIONS)
        while True:
            customers, at_once = await asyncio.to_thread(parent.recv)
            semaphore = asyncio.Semaphore(at_once)
            await asyncio.gather(*(self._place(pool, customer, semaphore) for customer in customers))
            parent.send("accepted")

    async def _place(self, pool: "asyncpg.Pool[Any]", customer: UUID, semaphore: asyncio.Semaphore) -> None:
        async with semaphore:
            await pool.fetch(sql.ACCEPT, customer, uuid4(), str(uuid4()))
            self._written.set()

    async def _consume(self, client: Client) -> None:
        connection = await asyncpg.connect(self._url)
        while True:
            await self._handle(connection, await client.receive(BATCH))
            await client.acknowledge()

    async def _handle(self, connection: "asyncpg.Connection[Any]", records: Sequence[Record]) -> None:
        by_type = defaultdict(list)
        async with connection.transaction():
            ids = [UUID(record.headers["id"]) for record in records]
            new = {row["id"] for row in await connection.fetch(_INBOX, ids)}
            for id, record in zip(ids, records, strict=True):
                if id in new:
                    by_type[record.headers["type"]].append(record)
            for types, statement in self._node.handlers.items():
                if batch := [record for type_ in types for record in by_type[type_]]:
                    orders = [UUID(record.key) for record in batch]
                    await connection.execute(statement, orders, [record.body.decode() for record in batch])
        for statement in self._node.afterwards:
            await connection.execute(statement)
        self._written.set()

    async def _relay(self, client: Client) -> None:
        connection = await asyncpg.connect(self._url)
        while True:
            await self._written.wait()
            self._written.clear()
            while rows := await connection.fetch(_OUTBOX):
                await client.send([self._record(row) for row in rows])
                await connection.execute(_PUBLISHED, [row["position"] for row in rows])

    def _record(self, row: Any) -> Record:
        headers = {"id": str(row["id"]), "type": row["type"]}
        return Record(self._prefix + row["topic"], row["key"], headers, row["body"].encode())
