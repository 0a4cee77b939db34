"""Faults of the ledger's database: it goes away, or another transaction holds a lock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg

from chassis.database import UnitOfWork
from chassis.testing import Launched


async def until_waiting(work: UnitOfWork) -> None:
    """Until another transaction waits for a lock that this work holds."""
    waiting = "SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    while not await work.read(waiting):
        await work.read("SELECT pg_sleep(0.01), pg_stat_clear_snapshot()")


@asynccontextmanager
async def database_away(ledger: Launched) -> AsyncIterator[None]:
    url = ledger.instance.settings.database_url
    name = urlsplit(url).path.strip("/")
    admin = await asyncpg.connect(urlsplit(url)._replace(path="/postgres").geturl())
    try:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        yield
    finally:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await admin.close()
