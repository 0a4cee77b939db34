"""A service's own database: its connection pool, its transactions, and what follows a commit."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, cast

import asyncpg

from chassis.database.errors import is_transient
from chassis.database.tables import Json, Table
from chassis.database.unit_of_work import S, Task, UnitOfWork
from chassis.resilience.debouncer import Debouncer

logger = logging.getLogger(__name__)
OUTBOX_CHANNEL = "outbox"
NOTIFY_DELAY_SECONDS = 0.005  # one NOTIFY for the commits of this time

Watcher = Callable[[Sequence[Any]], None]


class Database(Generic[S]):
    """A pool that is made at the first use, so that a service may start before its database."""

    def __init__(self, service: str, settings: S) -> None:
        self.service, self.settings = service, settings
        self.wake_relay: Callable[[], bool] | None = None  # a relay of this process; False: others have to be notified
        self.tasks: Collection[Task] = ()
        self.wake_tasks: Callable[[Mapping[Task, str | None]], None] = lambda tasks: None
        self._pool: asyncpg.Pool[Any] | None = None
        self._making = asyncio.Lock()
        self._watchers: dict[type[Table], list[Watcher]] = {}
        self._notification = Debouncer(self._notify_relays, delay_seconds=NOTIFY_DELAY_SECONDS)

    async def acquire(self) -> "asyncpg.Connection[Any]":
        pool = self._pool
        if pool is None:
            async with self._making:
                pool = self._pool = self._pool or await asyncpg.create_pool(
                    self.settings.database_url,
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

    async def release(self, connection: "asyncpg.Connection[Any]") -> None:
        if self._pool is not None:
            await self._pool.release(cast(Any, connection))

    async def connect(self) -> "asyncpg.Connection[Any]":
        """A connection outside of the pool: advisory locks and LISTEN live as long as their connection."""
        return await asyncpg.connect(
            self.settings.database_url, timeout=5, server_settings={"application_name": f"{self.service} relay"}
        )

    @asynccontextmanager
    async def work(self) -> AsyncIterator[UnitOfWork[S]]:
        """One transaction: committed at the end of the block, rolled back if the block raises."""
        work = UnitOfWork[S](self)
        try:
            yield work
            if unknown := work.wakes.keys() - set(self.tasks):
                raise ValueError(f"{self.service} has no task {', '.join(task.__name__ for task in unknown)}")
            await work.commit()
        finally:
            await work.release()
        self._follow_up(work)

    def watch(self, table: type[Table], watcher: Watcher) -> None:
        """Call `watcher` after each commit in this process that wrote rows of the table, with those rows."""
        self._watchers.setdefault(table, []).append(watcher)

    def _follow_up(self, work: UnitOfWork[S]) -> None:
        """What follows a commit is a hint to others and may get lost: each of them also looks by itself."""
        if work.wakes:
            self.wake_tasks(work.wakes)
        for table, watchers in self._watchers.items():
            inserted, updated, _ = work.rows.changes(table)
            if rows := [*inserted, *updated]:
                for watcher in watchers:
                    watcher(rows)
        if work.messages and not (self.wake_relay and self.wake_relay()):
            self._notification.trigger()

    async def _notify_relays(self) -> None:
        """After the commit: inside a transaction NOTIFY takes a lock on the whole database."""
        try:
            connection = await self.acquire()
            try:
                await connection.execute(f"NOTIFY {OUTBOX_CHANNEL}")
            finally:
                await self.release(connection)
        except Exception as error:
            if not is_transient(error):
                raise
            logger.warning("no relay was woken; relays look by themselves", extra={"error": repr(error)})

    async def close(self) -> None:
        await self._notification.close(wait_seconds=1)
        pool, self._pool = self._pool, None
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
    """Replaces asyncpg's reset, which costs a round trip for each use: nothing here changes the session."""
