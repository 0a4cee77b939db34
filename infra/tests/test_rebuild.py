"""`rebuild` with a real aggregator behind a real Envoy; small servers play the services that own the data."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aggregator.main import service
from aggregator.models import ProductReadModel
from chassis.database import new_id
from chassis.testing import Launch, Launched
from cli import app
from contracts.product import ProductView

from .conftest import Upstream, reply
from .fake_system import running_system

TEA = ProductView(
    id=new_id(),
    version=1,
    name="Tea",
    description="",
    category="Tea",
    price_cents=450,
    currency="EUR",
    weight_grams=100,
)


@pytest.fixture
async def aggregator(launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Launched]:
    product, order = Upstream(), Upstream()
    products = {"items": [TEA.model_dump(mode="json")], "next_cursor": None}
    product.answers["/exports/products?limit=100"] = [reply(products)] * 2
    order.answers["/exports/orders?limit=100"] = [reply({"items": [], "next_cursor": None})] * 2
    for name, upstream in (("PRODUCT", product), ("ORDER", order)):
        upstream.start()
        monkeypatch.setenv(f"{name}_URL", upstream.url)
    aggregator = await launch(service)
    async with running_system(service, {"aggregator": aggregator.url}, tmp_path, monkeypatch):
        yield aggregator
    await asyncio.to_thread(product.stop)
    await asyncio.to_thread(order.stop)


async def test_the_read_models_are_rebuilt_and_counted(aggregator: Launched) -> None:
    done = await asyncio.to_thread(lambda: CliRunner().invoke(app, ["rebuild"]))
    assert (done.exit_code, done.stdout) == (
        0,
        "The read models are new: 1 products, 0 orders, 0 old rows removed\n",
    )
    again = await asyncio.to_thread(lambda: CliRunner().invoke(app, ["rebuild", "--json"]))
    found = json.loads(again.stdout)
    assert (found["generation"], found["stage"], found["removed"]) == (3, "done", 1)
    assert [row.name for row in await aggregator.rows(ProductReadModel)] == ["Tea"]
