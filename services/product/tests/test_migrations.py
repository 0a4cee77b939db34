"""The history of prices begins with what is there, and is kept while the code of the revision before still runs."""

from uuid import UUID

import asyncpg

from chassis.database import new_id
from chassis.process.migrate import migrate
from chassis.testing import database_at
from product.main import service

ADD = "INSERT INTO products (id, version, name, description, category, price_cents, currency) VALUES"
CHANGE = "UPDATE products SET version = version + 1, name = $2, price_cents = $3 WHERE id = $1"


async def test_prices_are_kept_across_the_migration() -> None:
    url, before, between = await database_at(service, "0001"), new_id(), new_id()
    code_before = await asyncpg.connect(url)

    async def add(id: UUID) -> None:
        await code_before.execute(f"{ADD} ($1, 1, 'Tea', '', 'Tea', 450, 'EUR')", id)

    await add(before)
    await code_before.execute(CHANGE, before, "Tea", 500)
    await migrate(service, url)
    await add(between)
    for name, cents in (("Tea", 600), ("Green Tea", 600), ("Green Tea", 450)):
        await code_before.execute(CHANGE, before, name, cents)
    rows = await code_before.fetch("SELECT product_id, version, price_cents FROM prices ORDER BY product_id, version")
    await code_before.close()
    expected = [(before, 2, 500), (before, 3, 600), (before, 5, 450), (between, 1, 450)]
    assert [tuple(row) for row in rows] == expected
