"""A service's own database: its connections, its transactions, and who is told of a commit."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg

from chassis.config import Settings
from chassis.database.errors import is_transient
from chassis.database.tables import Json, Table
from chassis.database.unit_of_work import UnitOfWork

logger = logging.getLogger(__name__)
OUTBOX_CHANNEL = "outbox"

Watcher = Callable[[Sequence[Any]], None]


class Database:
    """A pool that is made at the first use, so that a service may start before its database."""

    def __init__(self, service: str, settings: Settings) -> None:
        self.service, self.settings = service, settings
        self.relay_here: Callable[[], bool] | None = None  # wakes a relay in this process; False: others have to know
        self.tasks: Collection[str] = ()
        self.wake: Callable[[Mapping[str, str | None]], None] = lambda tasks: None
        self._url = settings.database_url
        self._pool: asyncpg.Pool[Any] | None = None
        self._making = asyncio.Lock()
        self._watchers: dict[type[Table], list[Watcher]] = {}
        self._notifying: asyncio.Task[None] | None = None

    async def acquire(self) -> "asyncpg.Connection[Any]":
        pool = self._pool
        if pool is None:
            async with self._making:
                pool = self._pool = self._pool or await asyncpg.create_pool(
                    self._url,
                    min_size=1,
                    max_size=self.settings.database_pool_size,
                    timeout=5,
                    command_timeout=15,
                    init=_use_json,
                    reset=_keep_session,
                    server_settings={
                        "application_name": self.service,
                        "statement_timeout": "10s",
                        "lock_timeout": "5s",
                        "idle_in_transaction_session_timeout": "30s",
                        "jit": "off",
                    },
                )
        return cast("asyncpg.Connection[Any]", await pool.acquire(timeout=10))

    async def give_back(self, connection: "asyncpg.Connection[Any]") -> None:
        if self._pool is not None:
            await self._pool.release(cast(Any, connection))

    async def session(self) -> "asyncpg.Connection[Any]":
        """A connection of its own, past the pool: for advisory locks and LISTEN, which live as long as it does."""
        return await asyncpg.connect(
            self._url, timeout=5, server_settings={"application_name": f"{self.service} relay"}
        )

    @asynccontextmanager
    async def work(self) -> AsyncIterator[UnitOfWork]:
        """One transaction: committed at the end of the block, undone if it raises."""
        work = UnitOfWork(self)
        try:
            yield work
            if unknown := work.wakes.keys() - set(self.tasks):
                raise ValueError(f"{self.service} has no task {', '.join(unknown)}")
            await work.commit()
        finally:
            await work.release()
        self._tell(work)

    def watch(self, table: type[Table], watcher: Watcher) -> None:
        """Call `watcher` after each commit in this process that wrote rows of the table, with those rows."""
        self._watchers.setdefault(table, []).append(watcher)

    def _tell(self, work: UnitOfWork) -> None:
        if work.wakes:
            self.wake(work.wakes)
        for table, watchers in self._watchers.items():
            inserted, updated, _ = work.changes(table)
            if rows := [*inserted, *updated]:
                for watcher in watchers:
                    watcher(rows)
        if work.messages and not (self.relay_here and self.relay_here()) and self._notifying is None:
            self._notifying = asyncio.create_task(self._notify())

    async def _notify(self) -> None:
        """After the commit, and one for many: inside a transaction NOTIFY takes a lock on the whole database."""
        await asyncio.sleep(0.005)
        self._notifying = None
        try:
            connection = await self.acquire()
            try:
                await connection.execute(f"NOTIFY {OUTBOX_CHANNEL}")
            finally:
                await self.give_back(connection)
        except Exception as error:
            if not is_transient(error):
                raise
            logger.warning("no relay was woken, it will look by itself", extra={"error": repr(error)})

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if self._notifying is not None:
            await asyncio.wait({self._notifying}, timeout=1)
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), 5)
            except TimeoutError:
                pool.terminate()


async def _use_json(connection: "asyncpg.Connection[Any]") -> None:
    def encode(value: Any) -> str:
        return json.dumps(value.value if isinstance(value, Json) else value)

    await connection.set_type_codec("jsonb", encoder=encode, decoder=json.loads, schema="pg_catalog")


async def _keep_session(connection: "asyncpg.Connection[Any]") -> None:
    """Instead of asyncpg's reset, a round trip per use: nothing here changes the session."""
