"""The books begin with what the payments say that were there before them."""

import asyncpg

from chassis.database import new_id
from chassis.process.migrate import migrate
from chassis.testing import database_at
from payment.main import service

STATES = ["authorizing", "authorized", "declined", "capture_refused", "captured", "voiding", "voided", "voided"]


async def test_payments_of_before_are_in_the_books() -> None:
    url = await database_at(service, "0001")
    database = await asyncpg.connect(url)
    for number, state in enumerate(STATES):
        id = new_id()
        await database.execute("INSERT INTO payments VALUES ($1, 100, 'EUR', $2, NULL, NULL, false)", id, state)
        if state == "captured" or number == len(STATES) - 1:
            sql = "INSERT INTO attempts VALUES ($1, $2, 'capture', 100, 'EUR', NULL, NULL, 'captured', 0)"
            await database.execute(sql, new_id(), id)
    await migrate(service, url)
    moves = await database.fetch("SELECT credit, debit, sum(amount_cents) AS cents FROM entries GROUP BY 1, 2")
    assert {(row["credit"], row["debit"]): row["cents"] for row in moves} == {
        ("customer", "held"): 600,
        ("held", "captured"): 200,
        ("held", "voided"): 100,
        ("captured", "voided"): 100,
    }
    await database.close()
