"""Renaming a column while the old and the new code run: expand, move, contract.

`people.name` becomes `full_name`. Each deployment changes either the schema or the code, and whatever runs at the same
time can live with both: `docs/growing-old.md` tells the same story in words.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.orm import registry
from sqlmodel import Field

from chassis.calls import Api, Layer
from chassis.config import Settings
from chassis.database import Schema, Table, new_id
from chassis.database.pool import Database
from chassis.process.migrate import migrate
from chassis.service import Service
from chassis.testing import SERVICE_KEY, new_database

BEGIN = "CREATE TABLE people (id uuid PRIMARY KEY, name varchar NOT NULL)"
EXPAND = "ALTER TABLE people ADD COLUMN full_name varchar"
# Once no code reads `name` any more, nobody has to write it; and once nobody writes it, it goes.
RELAX = "ALTER TABLE people ALTER COLUMN name DROP NOT NULL"
CONTRACT = "ALTER TABLE people DROP COLUMN name"
BACKFILL = """
UPDATE people SET full_name = name WHERE id = ANY(ARRAY(
    SELECT id FROM people WHERE full_name IS NULL ORDER BY id LIMIT 10 FOR UPDATE)) RETURNING 1
"""


class Row1(Table, registry=registry()):
    """Each version has tables of its own."""


class V1(Row1, table=True):
    """The code before."""

    __tablename__ = "people"
    id: UUID = Field(primary_key=True)
    name: str

    @classmethod
    def called(cls, name: str) -> "V1":
        return cls.new(id=new_id(), name=name)

    def says(self) -> str:
        return self.name


class Row2(Table, registry=registry()):
    """Each version has tables of its own."""


class V2(Row2, table=True):
    """Writes both, and reads the new column where it is filled."""

    __tablename__ = "people"
    id: UUID = Field(primary_key=True)
    name: str
    full_name: str | None

    @classmethod
    def called(cls, name: str) -> "V2":
        return cls.new(id=new_id(), name=name, full_name=name)

    def says(self) -> str:
        return self.full_name or self.name


class Row3(Table, registry=registry()):
    """Each version has tables of its own."""


class V3(Row3, table=True):
    """Knows the new column alone."""

    __tablename__ = "people"
    id: UUID = Field(primary_key=True)
    full_name: str

    @classmethod
    def called(cls, name: str) -> "V3":
        return cls.new(id=new_id(), full_name=name)

    def says(self) -> str:
        return self.full_name


Version = type[V1] | type[V2] | type[V3]
written: dict[UUID, str] = {}


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Callable[[str], Awaitable[Database]]]:
    """`await database(sql)` migrates the one database one step further."""
    written.clear()
    migrations = tmp_path / "migrations"
    migrations.mkdir()
    service = Service(Api("people", Layer.SYSTEM), schema=Schema(V1.metadata, migrations))
    url = await new_database(f"people_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}")
    opened = Database("people", Settings.of("people", database_url=url, service_key=SERVICE_KEY))

    async def step(sql: str) -> Database:
        number = len(list(migrations.glob("*.py"))) + 1
        before = f"{number - 1:04}" if number > 1 else None
        (migrations / f"{number:04}_step.py").write_text(
            f"from alembic import op\nrevision, down_revision = '{number:04}', {before!r}\n"
            f"def upgrade():\n    op.execute({sql!r})\n"
        )
        await migrate(service, url)
        return opened

    yield step
    await opened.close()


@asynccontextmanager
async def at_work(database: Database, *versions: Version) -> AsyncIterator[None]:
    """Instances of these versions read and write all the time; at the end each has written, and all was read right."""
    stop, rounds = asyncio.Event(), dict.fromkeys(versions, 0)

    async def go_on(version: Version) -> None:
        while not stop.is_set():
            async with database.work() as work:
                await work.begin()
                name = f"{version.__name__} {rounds[version]}"
                written[work.add(version.called(name)).id] = name
            async with database.work() as work:
                for row in await work.lock(version, id=list(written)):
                    assert row.says() == written[row.id]
            rounds[version] += 1

    working = {version: asyncio.create_task(go_on(version)) for version in versions}
    yield
    for version, task in working.items():
        while rounds[version] < 5 and not task.done():
            await asyncio.wait([task], timeout=0.01)
    stop.set()
    await asyncio.gather(*working.values())


async def test_a_column_is_renamed_while_two_versions_run(database: Callable[[str], Awaitable[Database]]) -> None:
    it = await database(BEGIN)
    async with at_work(it, V1):
        await database(EXPAND)
    async with at_work(it, V1, V2):
        pass  # instances are replaced one by one
    async with at_work(it, V2):
        while await _backfilled(it):
            pass
        await database(RELAX)
    async with at_work(it, V2, V3):
        pass
    async with at_work(it, V3):
        await database(CONTRACT)
    async with it.work() as work:
        assert {row.id: row.says() for row in await work.lock(V3, id=list(written))} == written


async def test_contracting_too_early_is_noticed(database: Callable[[str], Awaitable[Database]]) -> None:
    it = await database(BEGIN)
    await database(EXPAND)
    with pytest.raises(asyncpg.UndefinedColumnError):
        async with at_work(it, V2):
            await database(CONTRACT)


async def _backfilled(database: Database) -> int:
    """A few rows at a time, so that nobody waits long for one; locked ones are waited for, so that none means none."""
    async with database.work() as work:
        return len(await work.execute(BACKFILL))
