"""The books begin with what the payments say that were there before them."""

import os
from urllib.parse import urlsplit

import asyncpg
from alembic import command
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from chassis.migrate import config
from chassis.tables import new_id
from payment.main import service

STATES = ["authorizing", "authorized", "declined", "capture_refused", "captured", "voiding", "voided", "voided"]


async def test_payments_of_before_are_in_the_books() -> None:
    name = f"payment_before_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    admin = await asyncpg.connect(os.environ["TEST_POSTGRES_URL"])
    await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    await admin.execute(f'CREATE DATABASE "{name}"')
    url = urlsplit(os.environ["TEST_POSTGRES_URL"])._replace(path=f"/{name}").geturl()
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))

    def upgrade(connection: Connection, revision: str) -> None:
        command.upgrade(config(service, connection), revision)

    async with engine.connect() as connection:
        await connection.run_sync(upgrade, "0001")
        await connection.commit()
        database = await asyncpg.connect(url)
        for number, state in enumerate(STATES):
            id = new_id()
            await database.execute("INSERT INTO payments VALUES ($1, 100, 'EUR', $2, NULL, NULL, false)", id, state)
            if state == "captured" or number == len(STATES) - 1:
                sql = "INSERT INTO attempts VALUES ($1, $2, 'capture', 100, 'EUR', NULL, NULL, 'captured', 0)"
                await database.execute(sql, new_id(), id)
        await connection.run_sync(upgrade, "head")
        await connection.commit()
    moves = await database.fetch("SELECT credit, debit, sum(amount_cents) AS cents FROM entries GROUP BY 1, 2")
    assert {(row["credit"], row["debit"]): row["cents"] for row in moves} == {
        ("customer", "held"): 600,
        ("held", "captured"): 200,
        ("held", "voided"): 100,
        ("captured", "voided"): 100,
    }
    await database.close()
    await engine.dispose()
    await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await admin.close()
