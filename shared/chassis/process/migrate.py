"""Bringing a service's database to the newest version of its schema: the chassis' own tables, then the service's."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import asyncpg
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.pool import NullPool

from chassis.database.schema import ALEMBIC, CHASSIS_MIGRATIONS
from chassis.service import Service

if TYPE_CHECKING:
    from alembic.config import Config

LOCK = 0x0A1E  # one migration at a time, however many instances start
CHASSIS_HEAD = "chassis@head"
# One at a time also in a process that runs several services: Alembic's context is a global.
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def alembic_config(service: Service, connection: Connection | None = None) -> "Config":
    """Alembic's settings: one environment in the chassis, the versions of chassis and service."""
    from alembic.config import Config

    folders = [CHASSIS_MIGRATIONS, service.schema.migrations] if service.schema else [CHASSIS_MIGRATIONS]
    it = Config()
    it.set_main_option("script_location", str(ALEMBIC))
    it.set_main_option("version_locations", "\n".join(map(str, folders)))
    it.set_main_option("path_separator", "newline")
    it.attributes |= {"connection": connection, "metadata": service.schema.metadata if service.schema else MetaData()}
    return it


async def migrate(service: Service, database_url: str, revision: str = "heads") -> None:
    """Run what is missing up to a revision of the service. Waits for another instance that migrates."""
    if await _is_newest(service, database_url):
        return
    async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        await _migrate(service, database_url, revision)


async def _is_newest(service: Service, database_url: str) -> bool:
    """Asked first, because Alembic takes a third of a second to say the same."""
    connection = await asyncpg.connect(database_url, timeout=5)
    try:
        found = {row["version_num"] for row in await connection.fetch("SELECT version_num FROM alembic_version")}
    except asyncpg.UndefinedTableError:
        return False
    finally:
        await connection.close()
    newest = {f"chassis_{_newest(CHASSIS_MIGRATIONS)}"}
    return found == newest | ({_newest(service.schema.migrations)} if service.schema else set())


def _newest(folder: Path) -> str:
    """A migration's file is named after its revision: `0001_….py`."""
    return max(path.stem.partition("_")[0] for path in folder.glob("[0-9]*.py"))


def _upgrade(connection: Connection, service: Service, revision: str) -> None:
    from alembic import command  # with what it imports, 0.5 s that a start without migrations does not need

    command.upgrade(alembic_config(service, connection), revision)


async def _migrate(service: Service, database_url: str, revision: str) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://"), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            # Polled: a session that waits for the lock holds a snapshot, and a concurrent index build waits for that.
            while not await connection.scalar(text(f"SELECT pg_try_advisory_lock({LOCK})")):
                await connection.commit()
                await asyncio.sleep(0.2)
            await connection.commit()
            for target in (CHASSIS_HEAD, revision):
                await connection.run_sync(_upgrade, service, target)
                await connection.commit()
    finally:
        await asyncio.shield(engine.dispose())
