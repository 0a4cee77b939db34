"""A pytest plugin for component tests: a service as it runs, on real PostgreSQL and the memory broker.

The root conftest starts PostgreSQL once for all workers and gives the superuser's address in TEST_POSTGRES_URL.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import httpx
import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import KeySet, OKPKey

from chassis.brokers.memory import MemoryBroker
from chassis.calls.auth import service_token
from chassis.database.tables import Table, build_row, mapping_of, new_id
from chassis.message import Envelope, Message, message_types
from chassis.process.instance import Instance
from chassis.process.migrate import migrate
from chassis.process.ports import reserve_port
from chassis.service import Service

T = TypeVar("T", bound=Table)
SERVICE_KEY = "a-key-for-tests-of-at-least-32-bytes"
ISSUER_KEY = OKPKey.generate_key("Ed25519", {"kid": "test"}, private=True)
_migrated: set[str] = set()


def token(subject: UUID, *roles: str, expires_in: int = 600, key: OKPKey = ISSUER_KEY) -> str:
    """An access token as the issuer of the tests signs it."""
    claims = {"iss": "user", "sub": str(subject), "roles": list(roles), "exp": int(time.time()) + expires_in}
    return jwt.encode({"alg": "EdDSA", "kid": "test"}, claims, key, algorithms=["EdDSA"])


@dataclass
class Launched:
    """A running service, and the hands of a test on it."""

    instance: Instance[Any]
    broker: MemoryBroker
    url: str

    def client(self, raw_token: str | None = None) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {raw_token}"} if raw_token else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=10, verify=False)

    def as_customer(self, id: UUID | None = None) -> httpx.AsyncClient:
        return self.client(token(id or new_id(), "customer"))

    def as_staff(self) -> httpx.AsyncClient:
        return self.client(token(new_id(), "customer", "staff", "operator"))

    def as_service(self, name: str = "test") -> httpx.AsyncClient:
        return self.client(service_token(name, SERVICE_KEY))

    @staticmethod
    def envelope(message: Message) -> Envelope:
        """The message as its sender's relay would publish it."""
        id = new_id()
        body = message.model_dump_json().encode()
        return Envelope(message.topic, message.key, id, message.wire_type, "test", datetime.now(UTC), body, str(id))

    async def send(self, *messages: Message | Envelope) -> None:
        """Publish, and return when this service has committed what follows and has settled."""
        await self.broker.publish([it if isinstance(it, Envelope) else self.envelope(it) for it in messages])
        await self.settled()

    async def sent(self, *types: type[Message]) -> list[Message]:
        """What the service has published, in order; only the given types, if any."""
        known = {it.wire_type: it for it in message_types()}
        async with self.instance.database.work() as work:
            rows = await work.read("SELECT type, body FROM outbox_history ORDER BY position")
        messages = [known[row["type"]].model_validate_json(row["body"]) for row in rows]
        return [message for message in messages if not types or isinstance(message, types)]

    async def rows(self, table: type[T]) -> list[T]:
        """All rows by primary key, so in order of creation where the key is an id of `new_id`."""
        mapping = mapping_of(table)
        async with self.instance.database.work() as work:
            records = await work.read(f"SELECT * FROM {mapping.name} ORDER BY {', '.join(mapping.key)}")
        return [build_row(table, dict(record)) for record in records]

    async def settled(self, seconds: float = 20) -> None:
        """Wait until the outbox is empty, nothing is due and no call is under way."""
        until = time.monotonic() + seconds
        # Asked twice: what was a call under way at the first question may have become a message by the second.
        while (left := await self._unsettled() or await self._unsettled()) is not None:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.instance.service.name} does not settle: {left}")
            await asyncio.sleep(0.01)

    async def _unsettled(self) -> str | None:
        async with self.instance.database.work() as work:
            if await work.read("SELECT FROM outbox LIMIT 1"):
                return "messages in the outbox"
            for entry in self.instance.service.deadlines.entries:
                name = mapping_of(entry.table).name
                if await work.read(f'SELECT FROM {name} WHERE "{entry.column}" <= now() LIMIT 1'):
                    return f"due rows in {name}"
        if any(sweeper.busy for sweeper in self.instance.sweepers):
            return "calls under way"
        if self.instance.tasks.busy:
            return "tasks under way"
        return None


Launch = Callable[..., Awaitable[Launched]]


@pytest_asyncio.fixture
async def launch(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Launch]:
    """`await launch(service, SHIPPING_CENTS=0)`: the service on an empty database, in role `all` or another."""
    async with AsyncExitStack() as stack:
        issuer = await stack.enter_async_context(published_keys())
        monkeypatch.setenv("USER_URL", issuer)

        async def start(
            service: Service, broker: MemoryBroker | None = None, port: int = 0, role: str = "all", **settings: Any
        ) -> Launched:
            broker = broker or MemoryBroker()
            url = await empty_database(service)
            values = {"broker": "memory"} | {name.lower(): value for name, value in settings.items()}
            its = service.settings.of(
                service.name, database_url=url, service_key=SERVICE_KEY, port=port or reserve_port(), **values
            )
            return await stack.enter_async_context(launched(Instance(service, its, broker), broker, role))

        yield start


@asynccontextmanager
async def launched(instance: Instance[Any], broker: MemoryBroker, role: str = "all") -> AsyncIterator[Launched]:
    """An instance that runs within the block."""
    running = asyncio.create_task(instance.run(role))
    it = Launched(instance, broker, f"http://127.0.0.1:{instance.settings.port}")
    try:
        async with httpx.AsyncClient(verify=False) as client:
            for _ in range(1000):
                if running.done():
                    break
                try:
                    if (await client.get(f"{it.url}/readyz")).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.01)
        if running.done():
            running.result()
        yield it
    finally:
        instance.stop.set()
        await running


@asynccontextmanager
async def published_keys() -> AsyncIterator[str]:
    """The issuer's key document on a real port."""
    body = KeySet([ISSUER_KEY]).as_dict(private=False)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        text = json.dumps(body).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n")
        writer.write(b"content-length: %d\r\n\r\n%s" % (len(text), text))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def empty_database(service: Service) -> str:
    """The address of this worker's database of the service: migrated once, emptied for every test."""
    name = f"{service.name}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    url = urlsplit(os.environ["TEST_POSTGRES_URL"])._replace(path=f"/{name}").geturl()
    if name not in _migrated:
        await migrate(service, await new_database(name))
        _migrated.add(name)
    connection = await asyncpg.connect(url)
    await connection.execute(_EMPTY)
    await connection.close()
    return url


# TRUNCATE makes the files of a table and of its indexes anew, which takes a hundred times as long for a few rows.
_EMPTY = """
SET session_replication_role = replica;
DO $$ DECLARE it record; BEGIN
    FOR it IN SELECT oid::regclass AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace
        AND relkind = 'r' AND relname <> 'alembic_version'
    LOOP
        IF pg_relation_size(it.name) > 65536 THEN EXECUTE format('TRUNCATE %s CASCADE', it.name);
        ELSIF pg_relation_size(it.name) > 0 THEN EXECUTE format('DELETE FROM %s', it.name);
        END IF;
    END LOOP;
    FOR it IN SELECT oid::regclass AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'
    LOOP EXECUTE format('ALTER SEQUENCE %s RESTART', it.name); END LOOP;
END $$
"""


async def database_at(service: Service, revision: str) -> str:
    """The address of a new database as the service had it at an earlier revision of its schema."""
    url = await new_database(f"{service.name}_{revision}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}")
    await migrate(service, url, revision)
    return url


async def new_database(name: str) -> str:
    """The address of an empty database, in the place of one of this name."""
    admin = await asyncpg.connect(os.environ["TEST_POSTGRES_URL"])
    await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    await admin.execute(f'CREATE DATABASE "{name}"')
    await admin.close()
    return urlsplit(os.environ["TEST_POSTGRES_URL"])._replace(path=f"/{name}").geturl()
