"""Erase me: personal data is found before the erasure and nowhere after it; the orders stay, without a person."""

import asyncio
import contextlib
import subprocess
import sys
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

from collector import Collector
from loadtests.shop import Customer, Shop

pytestmark = [pytest.mark.xdist_group("shop"), pytest.mark.usefixtures("left_at_rest")]
PASSWORD = "correct horse battery"


async def test_nothing_personal_is_left_of_who_is_erased(shop: Shop, collector: Collector) -> None:
    """The mark is of letters and digits alone, so that it looks the same percent-encoded, in JSON and in a mail."""
    mark = f"zq{uuid4().hex}"
    async with httpx.AsyncClient(base_url=f"{shop.url('public')}/api/v1", timeout=15) as http:
        order_id = await _live_here(shop, http, mark)
        found = await _tables_with(shop, mark)
        assert found == {"user.accounts", "user.addresses"}  # others ask for it when they need it, and keep none of it
        await _sweep(shop)
        assert _files_with(shop, mark) != []
        answer = await http.post("/me/erasure", json={"password": PASSWORD})
        assert answer.status_code == 202, answer.text
        report = await _finished(http, answer.json()["id"])
        assert {it["service"] for it in report["reports"]} == {"user", "order", "aggregator", "notification"}
        gone = await http.get("/me")
        assert gone.status_code == 404
    assert await _tables_with(shop, mark) == set()
    await _sweep(shop)
    assert _files_with(shop, mark) == []
    published = await _topics(shop)
    assert str(order_id).encode() in published
    assert mark.encode() not in published
    assert [span for span in list(collector.spans) if mark in str(span)] == []
    async with shop.database("order") as connection:
        assert await connection.fetchval("SELECT status FROM orders WHERE id = $1", order_id) == "delivered"


async def _live_here(shop: Shop, http: httpx.AsyncClient, mark: str) -> UUID:
    """An account, an address, an order that arrives, and mails about it."""
    account = {"email": f"{mark}@example.com", "password": PASSWORD, "name": f"Ada {mark}"}
    (await http.post("/accounts", json=account)).raise_for_status()
    await _be_staff_for_a_while(shop, account["email"])
    credentials = {"grant_type": "password", "email": account["email"], "password": PASSWORD}
    tokens = (await http.post("/tokens", json=credentials)).raise_for_status().json()
    http.headers["authorization"] = f"Bearer {tokens['access_token']}"
    home = {"name": f"Ada {mark}", "street": f"1 {mark} Street", "postcode": "10115", "city": "Berlin", "country": "DE"}
    address = (await http.post("/me/addresses", json=home)).raise_for_status().json()
    customer = Customer(shop, http, address["id"])
    async with shop.database("product") as connection:
        product_id = str(await connection.fetchval("SELECT product_id FROM stock LIMIT 1"))
    order_id = await customer.buy(product_id)
    await customer.wait_until_ended(order_id)
    await _mailed(shop, account["email"], 3)  # welcome, confirmed, shipped
    return order_id


async def _be_staff_for_a_while(shop: Shop, email: str) -> None:
    """Operators name accounts by their mail address."""
    for change in ("grant", "revoke"):
        command = [sys.executable, "-m", "cli", "users", change, email, "staff"]
        await asyncio.to_thread(lambda: subprocess.run(command, cwd=shop.folder, check=True, capture_output=True))  # noqa: B023


async def _mailed(shop: Shop, to: str, count: int) -> None:
    async with httpx.AsyncClient(base_url=shop.url("simulators")) as http:
        for _ in range(300):
            if len((await http.get("/mails", params={"to": to})).json()) >= count:
                return
            await asyncio.sleep(0.1)
    raise AssertionError(f"{count} mails to {to} did not arrive")


async def _finished(http: httpx.AsyncClient, erasure_id: str) -> Any:
    """Asked without a token: there is no account left to have one."""
    for _ in range(300):
        answer = await http.get(f"/erasures/{erasure_id}", headers={"authorization": ""})
        report = answer.raise_for_status().json()
        if report["completed_at"] is not None:
            return report
        await asyncio.sleep(0.1)
    raise AssertionError(f"the erasure waits for {report['waiting_for']}")


async def _tables_with(shop: Shop, mark: str) -> set[str]:
    """All tables of all services that show it, also inside the bodies of messages and answers."""
    found = set()
    for service in shop.services:
        async with shop.database(service) as connection:
            tables = await connection.fetch(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
            )
            for name in [row["relname"] for row in tables]:
                if await connection.fetchval(f'SELECT count(*) FROM "{name}" t WHERE {_shows(name)}', f"%{mark}%"):
                    found.add(f"{service}.{name}")
    return found


def _shows(table: str) -> str:
    """Bytes are shown as hexadecimal, so they are looked at as text on their own."""
    bodies = {"idempotency_keys": "answer", "outbox": "body", "dead_letters": "body"}
    column = "body" if table.startswith("outbox") else bodies.get(table)
    also = f" OR encode({column}, 'escape') LIKE $1" if column else ""
    return f"t::text LIKE $1{also}"


async def _sweep(shop: Shop) -> None:
    """What was deleted leaves the files as well when the tables are written anew."""
    for service in shop.services:
        async with shop.database(service) as connection:
            await connection.execute("VACUUM FULL")
            await connection.execute("CHECKPOINT")


def _files_with(shop: Shop, mark: str) -> list[str]:
    """Data files of PostgreSQL (but its log of changes, which is written over in turn) and the logs of all programs."""
    files = [*shop.state_folder.glob("postgres/data/base/**/*"), *shop.state_folder.glob("logs/*")]
    found = []
    for path in files:
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            if mark.encode() in path.read_bytes():
                found.append(path.name)
    return found


async def _topics(shop: Shop) -> bytes:
    """Every message there ever was."""
    admin = AIOKafkaAdminClient(bootstrap_servers=shop.url("kafka"))
    await admin.start()
    topics = [it for it in await admin.list_topics() if it.endswith((".commands", ".events"))]
    await admin.close()
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=shop.url("kafka"), auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = consumer.assignment()
        ends, read = await consumer.end_offsets(partitions), b""
        while [it for it in partitions if await consumer.position(it) < ends[it]]:
            for messages in (await consumer.getmany(timeout_ms=1000)).values():
                read += b"".join(message.key + message.value for message in messages)
        return read
    finally:
        await consumer.stop()
