"""Bringing a service's database to the newest version of its schema."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import asyncpg
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.pool import NullPool

from chassis.service import Service

if TYPE_CHECKING:
    from alembic.config import Config

LOCK = 0x0A1E  # one migration at a time, however many instances start
# And one at a time in a process that runs several services: Alembic's context is a global.
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def metadata(service: Service) -> MetaData:
    """The tables that the service's models declare."""
    row: Any = getattr(service.models, "Row", None)
    return row.metadata if row is not None else MetaData()


def versions(service: Service) -> Path:
    """The folder of a service's migrations, beside its package. Each is named after its revision, `0001_….py`."""
    return Path(str(service.models.__file__)).parent.parent / "migrations" if service.models else Path()


def alembic_config(service: Service, connection: Connection | None = None) -> "Config":
    """Alembic's settings: one environment in the chassis, the versions of the service."""
    from alembic.config import Config

    it = Config()
    it.set_main_option("script_location", str(Path(__file__).parent.parent / "database" / "alembic"))
    it.set_main_option("version_locations", str(versions(service)))
    it.set_main_option("path_separator", "newline")
    it.attributes |= {"connection": connection, "metadata": metadata(service)}
    return it


async def migrate(service: Service, database_url: str, revision: str = "head") -> None:
    """Run what is missing up to a revision. Waits for another instance that is at it."""
    if await _is_newest(service, database_url):
        return
    async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        await _migrate(service, database_url, revision)


async def _is_newest(service: Service, database_url: str) -> bool:
    """Asked first, because Alembic takes a third of a second to say the same."""
    connection = await asyncpg.connect(database_url, timeout=5)
    try:
        version = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return False
    finally:
        await connection.close()
    return bool(version == max(path.stem.partition("_")[0] for path in versions(service).glob("*.py")))


async def _migrate(service: Service, database_url: str, revision: str) -> None:
    from alembic import command  # with what it imports, 0.5 s that a start without migrations does not need
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://"), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            # Polled: whoever waits in the lock holds a snapshot, for which a concurrent index build waits.
            while not await connection.scalar(text(f"SELECT pg_try_advisory_lock({LOCK})")):
                await connection.commit()
                await asyncio.sleep(0.2)
            await connection.commit()
            await connection.run_sync(lambda it: command.upgrade(alembic_config(service, it), revision))
            await connection.commit()
    finally:
        await asyncio.shield(engine.dispose())
