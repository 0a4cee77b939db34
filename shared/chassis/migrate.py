"""Bringing a service's database to the newest version of its schema."""

import asyncio
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from chassis.service import Service

LOCK = 0x0A1E  # one migration at a time, however many instances start
# And one at a time in a process that runs several services: Alembic's context is a global.
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def metadata(service: Service) -> MetaData:
    """The tables that the service's models declare."""
    row: Any = getattr(service.models, "Row", None)
    return row.metadata if row is not None else MetaData()


def config(service: Service, connection: Connection | None = None) -> Config:
    """Alembic's settings: one environment in the chassis, the versions beside the service's package."""
    versions = Path(str(service.models.__file__)).parent.parent / "migrations" if service.models else Path()
    it = Config()
    it.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    it.set_main_option("version_locations", str(versions))
    it.set_main_option("path_separator", "newline")
    it.attributes |= {"connection": connection, "metadata": metadata(service)}
    return it


async def migrate(service: Service, database_url: str) -> None:
    """Run what is missing. Waits for another instance that is at it."""
    async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        await _migrate(service, database_url)


async def _migrate(service: Service, database_url: str) -> None:
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://"), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
            await connection.commit()
            await connection.run_sync(lambda it: command.upgrade(config(service, it), "head"))
            await connection.commit()
    finally:
        await asyncio.shield(engine.dispose())
