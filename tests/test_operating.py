"""What an operator sees of a running shop: the whole trace of an order, who is behind, and who does not answer."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest

from loadtests.audit import wait_until_settled
from loadtests.shop import Shop

pytestmark = pytest.mark.usefixtures("left_at_rest")
# Each message with the one that caused it. The checkout causes the first two.
CAUSED = {
    ("product.reserve_stock.v1", None),
    ("order.order_placed.v1", None),
    ("product.stock_reserved.v1", "product.reserve_stock.v1"),
    ("payment.authorize_payment.v1", "product.stock_reserved.v1"),
    ("order.order_reserved.v1", "product.stock_reserved.v1"),
    ("payment.payment_authorized.v1", "payment.authorize_payment.v1"),
    ("shipping.create_shipment.v1", "payment.payment_authorized.v1"),
    ("order.order_confirmed.v1", "payment.payment_authorized.v1"),
    ("shipping.shipment_dispatched.v1", "shipping.create_shipment.v1"),
    ("product.commit_stock.v1", "shipping.shipment_dispatched.v1"),
    ("payment.capture_payment.v1", "shipping.shipment_dispatched.v1"),
    ("order.order_shipped.v1", "shipping.shipment_dispatched.v1"),
    ("product.stock_committed.v1", "product.commit_stock.v1"),
    ("payment.payment_captured.v1", "payment.capture_payment.v1"),
    ("order.order_delivered.v1", "shipping.shipment_delivered.v1"),
    ("notification.notify.v1", "payment.payment_authorized.v1"),
    ("notification.notify.v1", "shipping.shipment_dispatched.v1"),
    ("notification.notification_sent.v1", "notification.notify.v1"),
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("kafka", marks=pytest.mark.xdist_group("shop")),
        pytest.param("pulsar", marks=[pytest.mark.xdist_group("operating"), pytest.mark.long]),
    ],
)
def shop(request: pytest.FixtureRequest) -> Shop:
    if request.param == "kafka":
        shared: Shop = request.getfixturevalue("kafka_shop")
        return shared
    opened: Shop = request.getfixturevalue("open_shop")(BROKER="pulsar")
    return opened


async def command(shop: Shop, *words: str) -> "subprocess.CompletedProcess[str]":
    run = [sys.executable, "-m", "cli", *words]
    return await asyncio.to_thread(
        lambda: subprocess.run(run, cwd=shop.folder, capture_output=True, text=True, timeout=120)
    )


async def ask_cli(shop: Shop, *words: str) -> Any:
    result = await command(shop, *words, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


async def bought(shop: Shop) -> UUID:
    """An order that was delivered, with nothing on its way any more."""
    async with shop.database("product") as connection:
        product_id = str(await connection.fetchval("SELECT min(product_id::text) FROM stock"))
    async with shop.customer() as customer:
        order_id = await customer.buy(product_id)
        assert (await customer.wait_until_ended(order_id))["status"] == "delivered"
    await wait_until_settled(shop, [order_id])
    return order_id


async def sent_about(shop: Shop, order_id: UUID) -> set[str]:
    """The ids of all messages whose key or correlation is the order's, found by reading all that each service has."""
    found: list[Any] = []
    for name in shop.services:
        async with shop.database(name) as connection:
            found += await connection.fetch("SELECT id, key, correlation_id FROM outbox_history")
    correlations = {row["correlation_id"] for row in found if row["key"] == str(order_id)}
    return {str(row["id"]) for row in found if row["correlation_id"] in correlations}


async def test_a_trace_has_every_message_of_an_order_after_its_cause(shop: Shop) -> None:
    order_id = await bought(shop)
    found = await ask_cli(shop, "messages", "trace", str(order_id))
    types = {it["id"]: it["type"] for it in found}
    places = {id: place for place, id in enumerate(types)}
    assert places.keys() == await sent_about(shop, order_id)
    for it in found:
        assert places.get(it["causation_id"], -1) < places[it["id"]], f"{it['type']} stands before its cause"
        assert it["published_at"], f"{it['type']} still waits"
        assert {handling["state"] for handling in it["handled"]} <= {"handled"}
    assert {(it["type"], types.get(it["causation_id"])) for it in found} >= CAUSED
    handlers = {it["type"]: {handling["by"] for handling in it["handled"]} for it in found}
    assert handlers["payment.authorize_payment.v1"] == {"payment"}
    assert handlers["order.order_delivered.v1"] >= {"aggregator"}


async def test_nobody_is_behind_at_rest(shop: Shop) -> None:
    """The last acknowledgements may come a moment after everything else is done."""
    await bought(shop)
    async with asyncio.timeout(60):
        while True:
            found = await ask_cli(shop, "lag")
            assert found.keys() == set(shop.services)
            assert found["order"]["topics"].keys() >= {"payment.events", "product.events", "shipping.events"}
            behind = {topic: count for it in found.values() for topic, count in it["topics"].items() if count}
            if (behind, {it["outbox"]["messages"] for it in found.values()}) == ({}, {0}):
                return


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_service_that_hangs_is_named_and_the_others_are_shown(shop: Shop) -> None:
    with stopped(shop.pid("payment")):
        result = await command(shop, "lag", "--json")
    assert result.returncode == 1
    assert "payment does not answer" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert json.loads(result.stdout).keys() == set(shop.services) - {"payment"}
