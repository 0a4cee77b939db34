"""`rebuild` against a real aggregator behind a real Envoy, between owners that are small servers."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gateway
from aggregator.main import service
from aggregator.models import ProductReadModel
from chassis.tables import new_id
from chassis.testing import SERVICE_KEY, Launch, Launched
from cli import app
from contracts.product import ProductView
from gateway.declared import openapi
from local import state
from local.envoy import Envoy
from local.server import free_port

from .conftest import Upstream, reply

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
    ports = gateway.Ports(*[free_port() for _ in range(4)])
    parts = [gateway.Part.of("aggregator", openapi(service))]
    config = gateway.config(ports, {"aggregator": aggregator.url}, parts=parts, service_key=SERVICE_KEY)
    urls = {"internal": f"http://127.0.0.1:{ports.internal}"}
    told = state.Running(os.getpid(), None, "memory", urls, SERVICE_KEY, {})  # type: ignore[arg-type]
    monkeypatch.setattr(state, "running", lambda: told)
    async with Envoy(tmp_path, ports.admin, config=config):
        yield aggregator
    await asyncio.to_thread(product.stop)
    await asyncio.to_thread(order.stop)


async def test_the_read_models_are_built_anew_and_counted(aggregator: Launched) -> None:
    told = await asyncio.to_thread(lambda: CliRunner().invoke(app, ["rebuild"]))
    assert (told.exit_code, told.stdout) == (
        0,
        "The read models are new: 1 products, 0 orders, 0 old rows removed\n",
    )
    again = await asyncio.to_thread(lambda: CliRunner().invoke(app, ["rebuild", "--json"]))
    found = json.loads(again.stdout)
    assert (found["generation"], found["stage"], found["removed"]) == (3, "done", 1)
    assert [row.name for row in await aggregator.rows(ProductReadModel)] == ["Tea"]
