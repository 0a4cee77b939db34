"""Every statement that reads uses an index, so that it costs the same when there are many accounts."""

from sqlalchemy import Select

from chassis.database.sql import compile_select
from chassis.database.tables import mapping_of
from chassis.testing import Launched
from user import queries
from user.due import deadlines

SMALL_TABLE = "signing_keys"  # three rows at the most


async def test_every_statement_uses_an_index(user: Launched) -> None:
    statements = [compile_select(it)[0] for it in vars(queries).values() if isinstance(it, Select)]
    statements += [
        f"SELECT * FROM {name} WHERE {entry.column} <= now() ORDER BY {entry.column} LIMIT 100 FOR UPDATE SKIP LOCKED"
        for entry in deadlines.entries
        for name in [mapping_of(entry.table).name]
    ]
    locked = {"accounts": "email", "refresh_tokens": "session_id", "password_resets": "account_id"}
    statements += [f"SELECT * FROM {name} WHERE {column} = ANY($1) FOR UPDATE" for name, column in locked.items()]
    without = [it for it in statements if "Seq Scan" in await plan(user, it)]
    assert [it for it in without if SMALL_TABLE not in it] == []
    assert len(without) == 1 + 2  # all keys, and two deadlines: the check does see statements without an index


async def plan(user: Launched, statement: str) -> str:
    """The generic plan, with a sequential scan only where no index serves."""
    async with user.instance.database.work() as work:
        await work.execute("SET LOCAL enable_seqscan = off")
        await work.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await work.execute(f"PREPARE it AS {statement}")
        nothing = ", ".join(["NULL"] * statement.count("$"))
        rows = await work.execute(f"EXPLAIN EXECUTE it{f'({nothing})' if nothing else ''}")
        await work.execute("DEALLOCATE it")
    return "\n".join(row[0] for row in rows)
