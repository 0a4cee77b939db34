"""After ten million orders: with so many rows in each table, no statement of the running shop reads all of one.

The statements are those that PostgreSQL itself saw (pg_stat_statements) while orders went through the whole shop; each
is planned again, whatever its parameters may be (a generic plan), in a migrated database that was filled and analyzed.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from chassis.process.migrate import migrate
from chassis.service import installed, installed_names
from chassis.testing import new_database
from loadtests.shop import OpenShop, Shop

pytestmark = [pytest.mark.xdist_group("plans"), pytest.mark.timeout(900)]  # beside the other shops: it fills tables
ROWS = 1_000_000 if os.environ.get("LONG") else 200_000
# Tables that stay small however many orders there are.
SMALL = {
    "alembic_version",
    "balances",
    "discrepancies",  # a row per payment on which the provider does not agree with us
    "erasures",  # a row per person who leaves
    "generations",
    "outbox",  # published rows leave it at once
    "dead_letter_keys",
    "dead_letters",
    "rebuilds",
    "reconciliations",
    "signing_keys",
}
# The chassis' own are alike in every service: it is enough to fill those of one.
CHASSIS = {"idempotency_keys", "inbox", "outbox_history"}
FILLED_IN = "order"
# Sums over everything, which staff and the demo ask for now and then to see that the books balance; and what is left of
# the first day of a database, before it had a partition for each.
READS_ALL = re.compile(r"^(SELECT (CAST\()?coalesce\(sum\(|DELETE FROM outbox_history_rest )", re.IGNORECASE)
FEW_VALUES = re.compile(r"^(status|state|kind|category|currency|country|template|consumer_group)$")


@pytest.fixture(scope="module")
def seen(open_shop: OpenShop) -> dict[str, list[str]]:
    """The statements that each service made while the demo ran."""
    shop = open_shop()
    asyncio.run(_asked(shop, "CREATE EXTENSION pg_stat_statements"))
    asyncio.run(_asked(shop, "SELECT pg_stat_statements_reset()"))  # without those of the migrations
    subprocess.run([sys.executable, "-m", "cli", "demo"], cwd=shop.folder, check=True, capture_output=True)
    rows = asyncio.run(
        _asked(
            shop,
            "SELECT datname, query FROM pg_stat_statements JOIN pg_database ON oid = dbid"
            r" WHERE query ~* '^\s*(SELECT|INSERT|UPDATE|DELETE|WITH)' AND query !~ 'pg_catalog'",
        )
    )
    return {name: [row["query"] for row in rows if row["datname"] == name] for name in shop.services}


async def _asked(shop: Shop, sql: str) -> list[Any]:
    """As the superuser, on the shop's server."""
    password = next(shop.state_folder.glob("postgres/superuser")).read_text()
    server = await asyncpg.connect(f"postgresql://postgres:{password}@{shop.url('postgres')}/postgres")
    rows = await server.fetch(sql)
    await server.close()
    return list(rows)


@pytest.mark.parametrize("name", installed_names())
async def test_no_statement_reads_a_whole_table(name: str, seen: dict[str, list[str]]) -> None:
    assert len(seen[name]) > 5, "the shop has run hardly anything: this test would say nothing"
    connection = await _filled(name)
    try:
        filled = set(await _growing(name, connection))
        wrong = [found for statement in seen[name] for found in await _whole_tables(connection, statement, filled)]
    finally:
        await connection.close()
    assert not wrong, "\n".join(wrong)


async def _filled(name: str) -> "asyncpg.Connection[Any]":
    url = await new_database(f"plans_{name}")
    await migrate(installed()[name], url)
    connection = await asyncpg.connect(url)
    await connection.execute("SET session_replication_role = replica")  # no keys and triggers: the rows are made up
    await connection.execute("SET maintenance_work_mem = '256MB'; SET plan_cache_mode = force_generic_plan")
    for table in await _growing(name, connection):
        await connection.execute(_UNCHECKED.format(table=table))
        await connection.execute(await _filling(connection, table), timeout=300)
        await connection.execute(f'REINDEX TABLE "{table}"', timeout=300)
    await connection.execute("ANALYZE", timeout=300)
    return connection


# Rows need not make sense, and indexes are built at the end, which is several times faster.
_UNCHECKED = """
DO $$ DECLARE it record; BEGIN
    FOR it IN SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid = '"{table}"'::regclass LOOP
        EXECUTE format('ALTER TABLE "{table}" DROP CONSTRAINT %I', it.conname);
    END LOOP;
    UPDATE pg_index SET indisready = false, indisvalid = false WHERE indrelid = '"{table}"'::regclass
        AND indrelid IN (SELECT oid FROM pg_class WHERE relkind = 'r');
END $$
"""


async def _growing(name: str, connection: "asyncpg.Connection[Any]") -> list[str]:
    rows = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition ORDER BY 1"
    )
    empty = SMALL if name == FILLED_IN else SMALL | CHASSIS
    return [row["relname"] for row in rows if row["relname"] not in empty]


async def _filling(connection: "asyncpg.Connection[Any]", table: str) -> str:
    """Unlike values in every column; what may be empty is so but for one row in a thousand."""
    columns = await connection.fetch(
        "SELECT column_name AS name, data_type AS type, is_nullable = 'YES' AS empty FROM information_schema.columns"
        " WHERE table_name = $1 AND is_identity = 'NO' AND is_generated = 'NEVER' ORDER BY ordinal_position",
        table,
    )
    values = {row["name"]: _value(row["name"], row["type"]) for row in columns}
    for row in columns:
        if row["empty"]:
            values[row["name"]] = f"CASE WHEN i % 1000 = 0 THEN {values[row['name']]} END"
    names = ", ".join(f'"{name}"' for name in values)
    return f'INSERT INTO "{table}" ({names}) SELECT {", ".join(values.values())} FROM generate_series(1, {ROWS}) AS i'


def _value(name: str, type_: str) -> str:
    if name in ("reserved", "committed", "returned", "refunded_cents", "used", "withdrawn", "low"):
        return "i % 1000 = 0" if type_ == "boolean" else "0"
    if FEW_VALUES.match(name) and type_ not in ("integer", "jsonb"):
        return "'value ' || i % 5"
    return {
        "uuid": "md5(i::text)::uuid",
        "timestamp with time zone": "now() - i * interval '1 minute'",
        "jsonb": """'[{"product_id": "0", "quantity": 1}]'::jsonb""",
        "boolean": "i % 1000 = 0",
        "bytea": "sha256(i::text::bytea)",
        "date": "current_date - i % 1000",
        "smallint": "i % 16",
    }.get(type_, "i" if type_ in ("integer", "bigint", "double precision") else "md5(i::text)")


async def _whole_tables(connection: "asyncpg.Connection[Any]", statement: str, filled: set[str]) -> list[str]:
    if READS_ALL.match(statement):
        return []
    try:
        await connection.execute("PREPARE it AS " + re.sub(r"interval (\$\d+)", r"CAST(\1 AS interval)", statement))
        types = await connection.fetchval("SELECT parameter_types FROM pg_prepared_statements WHERE name = 'it'")
        some = f"({', '.join(['NULL'] * len(types))})" if types else ""
        plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE it{some}"))
        await connection.execute("DEALLOCATE it")
    except asyncpg.PostgresError as error:
        return [f"cannot be planned: {error}: {statement}"]
    return [
        f"{node['Relation Name']} is read whole: {statement}"
        for node in _nodes(plan[0]["Plan"])
        if node["Node Type"] == "Seq Scan" and re.sub("_rest$", "", node["Relation Name"]) in filled
    ]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from _nodes(below)
