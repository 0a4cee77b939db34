"""After ten million orders no statement of the running system reads all rows of a table.

The statements are those that PostgreSQL itself saw the services make (pg_stat_statements) while orders went through the
whole shop, while operators asked, and when the services started, which is when everything periodic runs. Each is
planned again, whatever its parameters may be (a generic plan), in a migrated database that was filled and analyzed.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import pytest

from chassis.service import installed, installed_names
from chassis.web.openapi import audiences_of
from filled import filled
from ledger.waiting import until
from loadtests.shop import Shop
from storm import all_ready

pytestmark = [pytest.mark.xdist_group("shop"), pytest.mark.timeout(900)]
OPERATIONS = [
    *("/internal/dead-letters", "/internal/dead-letters?about=1", "/internal/dead-letters?after=1", "/internal/lag"),
    *("/internal/messages?key=1", "/internal/messages?correlation_id=1", "/internal/messages/published"),
    *(
        f"/internal/messages/published?{filters}"
        for filters in ("after=2026-01-01T00:00:00Z", "key=1", "type=1", "after=2026-01-01T00:00:00Z&key=1&type=1")
    ),
]
SEEN = r"""
SELECT query FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.userid
WHERE datname = $1 AND rolname = $1
AND query ~* '^\s*(SELECT|INSERT|UPDATE|DELETE|WITH)' AND query !~ 'pg_catalog|alembic_version'
"""


@pytest.fixture(scope="module")
def seen(shop: Shop) -> dict[str, list[str]]:
    """The statements that each service has made."""
    return asyncio.run(_seen(shop))


async def _seen(shop: Shop) -> dict[str, list[str]]:
    demo = [sys.executable, "-m", "cli", "demo"]
    await asyncio.to_thread(lambda: subprocess.run(demo, cwd=shop.folder, check=True, capture_output=True))
    for name in shop.services:
        os.kill(shop.pid(name), signal.SIGTERM)
    await until(lambda: not all_ready(shop))
    await until(lambda: all_ready(shop), 60)
    await asyncio.gather(*[_ask_everything(shop, name) for name in shop.services])
    server = await asyncpg.connect(shop.superuser_url)
    try:
        return {name: [row["query"] for row in await server.fetch(SEEN, name)] for name in shop.services}
    finally:
        await server.close()


async def _ask_everything(shop: Shop, name: str) -> None:
    """Every GET of the service, without and with each of its filters. What is not found has been looked for as well."""
    async with httpx.AsyncClient(base_url=shop.url(name), headers=shop.service_headers, timeout=30) as http:
        audiences = audiences_of(installed()[name])
        documents = [(await http.get(f"/docs/{it}.json")).raise_for_status().json() for it in audiences]
        gets = [(path, it["get"]) for found in documents for path, it in found["paths"].items() if "get" in it]
        for url in [*OPERATIONS, *(url for path, operation in gets for url in _urls(path, operation))]:
            answer = await http.get(url)
            assert answer.status_code < 500, f"{name} {url}: {answer.text}"


def _urls(path: str, operation: dict[str, Any]) -> Iterator[str]:
    if "text/event-stream" in operation["responses"].get("200", {}).get("content", {}):
        return
    parameters = operation.get("parameters", [])
    for it in parameters:
        if it["in"] == "path":
            path = path.replace(f"{{{it['name']}}}", _example(it["schema"]))
    yield path
    for it in parameters:
        if it["in"] == "query":
            yield f"{path}?{it['name']}={_example(it['schema'])}"


def _example(schema: dict[str, Any]) -> str:
    schema = next(iter(schema.get("anyOf", [schema])))
    formats = {"uuid": "01980000-0000-7000-8000-000000000000", "date-time": "2026-01-01T00:00:00Z"}
    return formats.get(schema.get("format", ""), "1")


@pytest.mark.parametrize("name", installed_names())
async def test_no_statement_reads_a_whole_table(name: str, seen: dict[str, list[str]]) -> None:
    assert len(seen[name]) > 5, "the shop has run hardly anything: this test would say nothing"
    async with filled(name) as database:
        wrong = [found for statement in seen[name] for found in await database.whole_tables(statement)]
    assert not wrong, "\n".join(wrong)


async def test_a_statement_that_reads_a_whole_table_is_found() -> None:
    expected = {
        "SELECT id FROM orders WHERE reason = $1": "Seq Scan reads all of orders",
        "SELECT count(*) FROM orders": "reads all of orders",
        "SELECT id, version FROM orders ORDER BY id": "reads all of orders",
        "SELECT id, lines FROM orders WHERE id = $1": "",
        "SELECT id, lines FROM orders ORDER BY id LIMIT 10": "",
        "SELECT id FROM orders WHERE deadline <= now() ORDER BY deadline LIMIT 10": "",
    }
    async with filled("order") as database:
        for statement, how in expected.items():
            found = await database.whole_tables(statement)
            assert [how in it for it in found] == ([True] if how else []), (statement, found)
