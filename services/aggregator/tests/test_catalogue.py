"""Products from events, from a cache that may be away, and with stock that may be unknown."""

import asyncio
import logging
import os
import signal
import time
from typing import Any

import pytest

from aggregator.models import ProductReadModel
from chassis.tables import new_id
from chassis.testing import Launch, free_port
from local.valkey import Valkey

from .conftest import Shop, changed, problem, running


async def test_what_is_announced_is_shown(shop: Shop) -> None:
    event = changed()
    await shop.aggregator.send(event)
    (shown,) = (await shop.get("/products"))["items"]
    assert shown == {"id": str(event.product_id), **event.model_dump(mode="json", exclude={"product_id", "withdrawn"})}


@pytest.mark.parametrize("versions", [(1, 2, 3), (3, 2, 1), (2, 2, 3, 1, 3)])
@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
async def test_the_newest_version_wins(shop: Shop, versions: tuple[int, ...], together: bool) -> None:
    id = new_id()
    events = [changed(id, version, price_cents=100 * version) for version in versions]
    if together:
        await shop.aggregator.send(*events)
    else:
        for event in events:
            await shop.aggregator.send(event)
    (row,) = await shop.aggregator.rows(ProductReadModel)
    assert (row.version, row.price_cents) == (3, 300)


async def test_what_is_withdrawn_is_not_shown_any_more(shop: Shop) -> None:
    """Nor does an older event bring it back."""
    tea, pot = changed(), changed(name="Teapot", category="Pots")
    await shop.aggregator.send(tea, pot, changed(pot.product_id, 2, withdrawn=True), changed(pot.product_id, 1))
    assert [it["id"] for it in (await shop.get("/products"))["items"]] == [str(tea.product_id)]
    assert (await shop.get("/products", q="teapot"))["items"] == []
    assert (await shop.get("/products", category="Pots"))["items"] == []
    assert await shop.get("/categories") == [{"name": "Tea", "products": 1}]
    assert (await shop.get(f"/products/{pot.product_id}", 404))["code"] == "product_not_found"


async def test_pages_show_everything_once_by_name(shop: Shop) -> None:
    events = [changed(name=f"Tea {number % 7}") for number in range(45)]
    await shop.aggregator.send(*events)
    found: list[dict[str, Any]] = []
    page = await shop.get("/products", limit=10)
    while page["next_cursor"] is not None:
        found += page["items"]
        page = await shop.get("/products", limit=10, cursor=page["next_cursor"])
    found += page["items"]
    assert {it["id"] for it in found} == {str(event.product_id) for event in events}
    assert len(found) == 45
    assert [it["name"] for it in found] == sorted(it["name"] for it in found)


async def test_search_and_categories(shop: Shop) -> None:
    await shop.aggregator.send(
        changed(name="Green Tea", description="Loose leaves"), changed(name="Teapot", category="Pots")
    )

    async def names(**params: Any) -> list[str]:
        return [it["name"] for it in (await shop.get("/products", **params))["items"]]

    assert await names(q="tea") == ["Green Tea", "Teapot"]
    assert await names(q="LEA gre") == ["Green Tea"]
    assert await names(q="tea", category="Pots") == ["Teapot"]
    assert await names(category="Tea") == ["Green Tea"]
    assert await names(q="a | ( & ') !") == []
    assert await shop.get("/categories") == [{"name": "Pots", "products": 1}, {"name": "Tea", "products": 1}]


async def test_a_product_says_how_many_can_be_had_now(shop: Shop) -> None:
    event = changed()
    await shop.aggregator.send(event)
    shop.product.answers["GET", "/stock"] = (200, [{"product_id": str(event.product_id), "on_hand": 5, "reserved": 2}])
    shown = await shop.get(f"/products/{event.product_id}")
    assert (shown["name"], shown["available"], shown["partial"]) == ("Tea", 3, [])
    shop.product.answers["GET", "/stock"] = (200, [{"product_id": str(event.product_id), "on_hand": 5, "reserved": 5}])
    assert (await shop.get(f"/products/{event.product_id}"))["available"] == 0


@pytest.mark.parametrize("trouble", ["slow", "failing", "away"])
async def test_a_product_is_shown_in_part_when_stock_is_unknown(
    shop: Shop, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = changed()
    await shop.aggregator.send(event)
    if trouble == "slow":
        shop.product.delay_seconds = 3
    if trouble == "failing":
        shop.product.answers["GET", "/stock"] = (500, problem(500, "internal"))
    if trouble == "away":
        monkeypatch.setenv("PRODUCT_URL", f"http://127.0.0.1:{free_port()}")
    started = time.monotonic()
    shown = await shop.get(f"/products/{event.product_id}")
    assert (shown["name"], shown["available"], shown["partial"]) == ("Tea", None, ["available"])
    assert time.monotonic() - started < 2


async def test_a_page_comes_from_the_cache_for_a_while(shop: Shop) -> None:
    event = changed()
    await shop.aggregator.send(event)
    before = await shop.get("/products")
    async with shop.aggregator.instance.database.work() as work:
        await work.execute("UPDATE products SET name = 'Changed behind its back'")
    assert await shop.get("/products") == before
    await asyncio.sleep(1.2)
    assert (await shop.get("/products"))["items"][0]["name"] == "Changed behind its back"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "hanging"])
async def test_without_its_cache_the_shop_is_only_slower(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: signal.Signals
) -> None:
    caplog.set_level(logging.WARNING)
    async with Valkey.temporary() as valkey, running(launch, monkeypatch, valkey.url) as shop:
        event = changed()
        await shop.aggregator.send(event)
        shop.product.answers["GET", "/stock"] = (200, [])
        await shop.get("/products")
        assert valkey.process is not None
        os.kill(valkey.process.pid, how)
        started = time.monotonic()
        for _ in range(20):
            assert len((await shop.get("/products"))["items"]) == 1
            assert (await shop.get(f"/products/{event.product_id}"))["name"] == "Tea"
        assert time.monotonic() - started < 10
        if how == signal.SIGSTOP:
            os.kill(valkey.process.pid, signal.SIGCONT)
        else:
            valkey.kill()
            await asyncio.to_thread(valkey.start)
        await asyncio.sleep(1.1)
        await shop.get("/products")
    said = [record.getMessage() for record in caplog.records if "cache" in record.getMessage()]
    assert said == ["the cache is away; waiting for it", "the cache is back"]


async def test_what_another_version_of_the_program_cached_is_no_trouble(shop: Shop, valkey: Valkey) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", valkey.port)
    writer.write(b'SET categories "[1]"\r\n')
    await reader.readline()
    writer.close()
    assert await shop.get("/categories") == []
