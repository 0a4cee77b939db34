"""A service's database filled with many made-up rows, and which tables PostgreSQL would read whole for a statement."""

import json
import os
import re
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from chassis.process.migrate import migrate
from chassis.service import installed
from chassis.testing import new_database

# The planner is to believe in a million rows; it is enough that some of them are there.
PLANNED_ROWS = 1_000_000
ROWS = PLANNED_ROWS if os.environ.get("LONG") else 20_000
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
READS_ALL = re.compile(
    r"^(SELECT (CAST\()?coalesce\(sum\(|SELECT shipments.state, count\(|DELETE FROM outbox_history_rest )",
    re.IGNORECASE,
)
# PostgreSQL shows the constants of a statement as parameters, also those for which there is an index.
CONSTANTS = [
    (r"interval (\$\d+)", r"CAST(\1 AS interval)"),
    (r"extract\(\$\d+ FROM", "extract(epoch FROM"),
    (r"to_(tsvector|tsquery)\(\$\d+,", r"to_\1('simple',"),
    (r"\|\| \$\d+ \|\|", "|| ' ' ||"),
]
FEW_VALUES = re.compile(r"^(status|state|hold|kind|category|currency|country|template|consumer_group)$")
MANY_ROWS = f"""
UPDATE pg_class SET reltuples = reltuples * {PLANNED_ROWS // ROWS}
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i') AND reltuples > 0
"""
ALL_OF_AN_INDEX = ("Index Scan", "Index Only Scan", "Bitmap Index Scan")


class Filled:
    """A connection to the database, and the tables that have rows."""

    def __init__(
        self, connection: "asyncpg.Connection[Any]", tables: Collection[str], partial: Collection[str]
    ) -> None:
        self._connection, self._tables, self._partial_indexes = connection, tables, partial

    async def whole_tables(self, statement: str) -> list[str]:
        """A line for each table, or index of one, that is read from one end to the other."""
        if READS_ALL.match(statement):
            return []
        try:
            plan = await self._plan(statement)
        except asyncpg.PostgresError as error:
            return [f"cannot be planned: {error}: {statement}"]
        return [f"{how} reads all of {what}: {statement}" for how, what in self._whole(plan, False)]

    async def _plan(self, statement: str) -> dict[str, Any]:
        execute, fetch = self._connection.execute, self._connection.fetchval
        await execute(f"PREPARE it AS {_with_constants(statement)}")
        try:
            types = await fetch("SELECT parameter_types FROM pg_prepared_statements WHERE name = 'it'")
            some = f"({', '.join(['NULL'] * len(types))})" if types else ""
            (plan,) = json.loads(await fetch(f"EXPLAIN (FORMAT JSON) EXECUTE it{some}"))
            return dict(plan["Plan"])
        finally:
            await execute("DEALLOCATE it")

    def _whole(self, node: dict[str, Any], limited: bool) -> Iterator[tuple[str, str]]:
        how, table = node["Node Type"], node.get("Relation Name", "")
        if how == "Seq Scan" and re.sub("_rest$", "", table) in self._tables:
            yield how, table
        index = node.get("Index Name", "")
        if how in ALL_OF_AN_INDEX and "Index Cond" not in node and not limited and index not in self._partial_indexes:
            yield how, index
        for below in node.get("Plans", []):
            yield from self._whole(below, limited or how == "Limit")


def _with_constants(statement: str) -> str:
    """The statement with its parameters numbered anew, since some have become constants."""
    for shown, constant in CONSTANTS:
        statement = re.sub(shown, constant, statement, flags=re.IGNORECASE)
    numbers: dict[str, str] = {}
    return re.sub(r"\$\d+", lambda it: numbers.setdefault(it[0], f"${len(numbers) + 1}"), statement)


@asynccontextmanager
async def filled(name: str) -> AsyncIterator[Filled]:
    url = await new_database(f"plans_{name}")
    await migrate(installed()[name], url)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET session_replication_role = replica")  # no keys and triggers: the rows are made up
        await connection.execute("SET maintenance_work_mem = '256MB'; SET plan_cache_mode = force_generic_plan")
        tables = await _growing(name, connection)
        for table in tables:
            await connection.execute(_UNCHECKED.format(table=table))
            await connection.execute(await _filling(connection, table), timeout=300)
            await connection.execute(f'REINDEX TABLE "{table}"', timeout=300)
        await connection.execute("ANALYZE", timeout=300)
        await connection.execute(MANY_ROWS)
        # A partial index is small, whatever its table, and those of small tables are small as well.
        small = await connection.fetch(_SMALL_INDEXES, tables)
        yield Filled(connection, tables, {row["name"] for row in small})
    finally:
        await connection.close()


_SMALL_INDEXES = """
SELECT i.relname AS name FROM pg_index JOIN pg_class i ON i.oid = indexrelid JOIN pg_class t ON t.oid = indrelid
WHERE indpred IS NOT NULL OR t.relname <> ALL ($1::text[])
"""

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
