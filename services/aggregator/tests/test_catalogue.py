"""Products from events, from a cache that may be down, and with stock that may be unknown."""

import asyncio
import logging
import os
import signal
from typing import Any

import pytest

from aggregator import cache
from aggregator.cache import ValkeyCache
from aggregator.models import ProductReadModel
from chassis.database import new_id
from chassis.process.ports import reserve_port
from chassis.testing import Launch
from ledger.fakes import problem
from local.valkey import Valkey

from .conftest import Harness, changed, commanded, running_harness


async def test_a_published_product_is_shown(harness: Harness) -> None:
    event = changed()
    await harness.aggregator.send(event)
    (shown,) = (await harness.get("/products"))["items"]
    assert shown == {"id": str(event.product_id), **event.model_dump(mode="json", exclude={"product_id", "withdrawn"})}


@pytest.mark.parametrize("versions", [(1, 2, 3), (3, 2, 1), (2, 2, 3, 1, 3)])
@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
async def test_the_newest_version_wins(harness: Harness, versions: tuple[int, ...], together: bool) -> None:
    id = new_id()
    events = [changed(id, version, price_cents=100 * version) for version in versions]
    if together:
        await harness.aggregator.send(*events)
    else:
        for event in events:
            await harness.aggregator.send(event)
    (row,) = await harness.aggregator.rows(ProductReadModel)
    assert (row.version, row.price_cents) == (3, 300)


async def test_a_withdrawn_product_is_no_longer_shown(harness: Harness) -> None:
    """Nor does an older event bring it back."""
    tea, pot = changed(), changed(name="Teapot", category="Pots")
    await harness.aggregator.send(tea, pot, changed(pot.product_id, 2, withdrawn=True), changed(pot.product_id, 1))
    assert [it["id"] for it in (await harness.get("/products"))["items"]] == [str(tea.product_id)]
    assert (await harness.get("/products", q="teapot"))["items"] == []
    assert (await harness.get("/products", category="Pots"))["items"] == []
    assert await harness.get("/categories") == [{"name": "Tea", "products": 1}]
    assert (await harness.get(f"/products/{pot.product_id}", 404))["code"] == "product_not_found"


async def test_pages_show_every_product_once_by_name(harness: Harness) -> None:
    events = [changed(name=f"Tea {number % 7}") for number in range(45)]
    await harness.aggregator.send(*events)
    found: list[dict[str, Any]] = []
    page = await harness.get("/products", limit=10)
    while page["next_cursor"] is not None:
        found += page["items"]
        page = await harness.get("/products", limit=10, cursor=page["next_cursor"])
    found += page["items"]
    assert {it["id"] for it in found} == {str(event.product_id) for event in events}
    assert len(found) == 45
    assert [it["name"] for it in found] == sorted(it["name"] for it in found)


async def test_search_and_categories(harness: Harness) -> None:
    await harness.aggregator.send(
        changed(name="Green Tea", description="Loose leaves"), changed(name="Teapot", category="Pots")
    )

    async def names(**params: Any) -> list[str]:
        return [it["name"] for it in (await harness.get("/products", **params))["items"]]

    assert await names(q="tea") == ["Green Tea", "Teapot"]
    assert await names(q="LEA gre") == ["Green Tea"]
    assert await names(q="tea", category="Pots") == ["Teapot"]
    assert await names(category="Tea") == ["Green Tea"]
    assert await names(q="a | ( & ') !") == []
    for no_filter in ({"q": ""}, {"q": " "}, {"q": "!"}, {"category": ""}, {"q": "", "category": ""}):
        assert await names(**no_filter) == ["Green Tea", "Teapot"], no_filter
    assert await harness.get("/categories") == [{"name": "Pots", "products": 1}, {"name": "Tea", "products": 1}]


async def test_a_product_shows_how_many_can_be_ordered_now(harness: Harness) -> None:
    event = changed()
    await harness.aggregator.send(event)

    async def shown(on_hand: int, reserved: int) -> Any:
        stock = {"product_id": str(event.product_id), "on_hand": on_hand, "reserved": reserved}
        harness.product.answers["GET", "/stock"] = (200, {"items": [stock], "next_cursor": None})
        return await harness.get(f"/products/{event.product_id}")

    first = await shown(5, 2)
    assert (first["name"], first["available"], first["partial"]) == ("Tea", 3, [])
    assert (await shown(5, 5))["available"] == 0


@pytest.mark.parametrize("fault", ["slow", "failing", "down"])
async def test_a_product_is_shown_in_part_when_its_stock_is_unknown(
    harness: Harness, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = changed()
    await harness.aggregator.send(event)
    if fault == "slow":
        harness.product.open.clear()  # the answer comes after the test: the aggregator cannot have waited for it
    if fault == "failing":
        harness.product.answers["GET", "/stock"] = (500, problem(500, "internal"))
    if fault == "down":
        monkeypatch.setenv("PRODUCT_URL", f"http://127.0.0.1:{reserve_port()}")
    shown = await harness.get(f"/products/{event.product_id}")
    assert (shown["name"], shown["available"], shown["partial"]) == ("Tea", None, ["available"])
    harness.product.open.set()


async def test_a_page_comes_from_the_cache_until_it_expires(harness: Harness, valkey: Valkey) -> None:
    await harness.aggregator.send(changed())
    before = await harness.get("/products")
    async with harness.aggregator.instance.database.work() as work:
        await work.execute("UPDATE products SET name = 'Changed without an event'")
    assert await harness.get("/products") == before
    await harness.get("/categories")
    assert 0 < int((await commanded(valkey, "TTL categories")).removeprefix(b":")) <= 600
    await commanded(valkey, "FLUSHALL")
    assert (await harness.get("/products"))["items"][0]["name"] == "Changed without an event"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "hanging"])
async def test_without_its_cache_the_catalogue_is_only_slower(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: signal.Signals
) -> None:
    """One request waits for the time-out of the cache; those after it do not ask the cache for a while."""
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(cache, "BYPASS_SECONDS", 600)
    with Valkey.temporary() as valkey:
        async with running_harness(launch, monkeypatch, valkey) as harness:
            event = changed()
            await harness.aggregator.send(event)
            harness.product.answers["GET", "/stock"] = (200, {"items": [], "next_cursor": None})
            await harness.get("/products")
            asked = _counted_commands(harness, monkeypatch)
            assert valkey.process is not None
            os.kill(valkey.process.pid, how)
            for _ in range(20):
                assert len((await harness.get("/products"))["items"]) == 1
                assert (await harness.get(f"/products/{event.product_id}"))["name"] == "Tea"
            assert len(asked) == 1
            if how == signal.SIGSTOP:
                os.kill(valkey.process.pid, signal.SIGCONT)
            else:
                valkey.kill()
                await asyncio.to_thread(valkey.start)
            harness.aggregator.instance.runtime.resource(ValkeyCache)._bypassed_until = 0  # the while is over
            await harness.get("/products")
    messages = [record.getMessage() for record in caplog.records if "cache" in record.getMessage()]
    assert messages == ["the cache is away; waiting for it", "the cache is back"]


def _counted_commands(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys for which Valkey is asked from now on."""
    keys: list[str] = []
    valkey = harness.aggregator.instance.runtime.resource(ValkeyCache)._valkey
    get = valkey.get

    async def counted(key: str) -> Any:
        keys.append(key)
        return await get(key)

    monkeypatch.setattr(valkey, "get", counted)
    return keys


async def test_a_value_that_another_version_of_the_program_cached_is_replaced(harness: Harness, valkey: Valkey) -> None:
    await commanded(valkey, 'SET categories "[1]"')
    assert await harness.get("/categories") == []
