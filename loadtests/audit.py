"""What must hold after any load and any fault, read from the databases of a shop at rest."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import httpx

from loadtests.shop import Shop

KEPT = ("delivered", "refunded")  # the goods have left
_UNDER_WAY = """
SELECT id, status, payment, stock FROM orders WHERE id = ANY($1) AND NOT (
    status = 'cancelled' OR status IN ('delivered', 'refunded') AND stock = 'committed'
    AND (payment IN ('captured', 'voided') OR attention IS NOT NULL)
    AND NOT refunds @? '$[*] ? (@.state == "awaiting_capture" || @.state == "requested")')
"""
_VERSIONS = "SELECT count(*), sum(version) FROM orders"


async def at_rest(shop: Shop, accepted: Iterable[UUID], seconds: float = 90) -> None:
    """Wait until every accepted order has ended, with its money where it belongs; no outbox holds a message; and the
    read models have caught up, which after a kill -9 takes as long as the broker waits for the dead consumer."""
    until, ids = time.monotonic() + seconds, list(accepted)
    async with AsyncExitStack() as stack:  # connections that stay: asking must cost the shop next to nothing
        databases = {name: await stack.enter_async_context(shop.database(name)) for name in shop.services}
        while left := await _under_way(databases, ids):
            assert time.monotonic() < until, f"no rest after {seconds} s: {left}"
            await asyncio.sleep(0.2)


async def _under_way(databases: dict[str, Any], ids: list[UUID]) -> list[str]:
    """What is left to be done, first things first."""
    if orders := await databases["order"].fetch(_UNDER_WAY, ids):
        return [f"order {row['id']} is {row['status']} {row['payment']} {row['stock']}" for row in orders]
    counts = {name: await database.fetchval("SELECT count(*) FROM outbox") for name, database in databases.items()}
    if left := [f"{name} has {count} to publish" for name, count in counts.items() if count]:
        return left
    # The read model holds no order that its owner does not, and none in a later version: the sums say it all.
    sums = [await databases[name].fetchrow(_VERSIONS) for name in ("order", "aggregator")]
    return [] if sums[0] == sums[1] else [f"aggregator has {sums[1]} orders and versions, order {sums[0]}"]


async def audit(shop: Shop, accepted: Iterable[UUID], stock_before: int) -> Counter[str]:
    """Check a shop in which these orders were accepted and nothing else was sold. The orders by status."""
    ids = set(accepted)
    async with shop.database("order") as order:
        orders = {row["id"]: row for row in await order.fetch("SELECT * FROM orders")}
        steps = await order.fetch(
            "SELECT order_id, array_agg(version ORDER BY version) AS versions FROM steps GROUP BY 1"
        )
    assert ids <= orders.keys(), f"lost: {ids - orders.keys()}"
    assert {row["status"] for row in orders.values()} <= {*KEPT, "cancelled"}
    assert all(row["reason"] for row in orders.values() if row["status"] == "cancelled")
    assert all(row["versions"] == list(range(1, orders[row["order_id"]]["version"] + 1)) for row in steps)
    sold = {id: row for id, row in orders.items() if row["status"] in KEPT}
    await _check_stock(shop, sold, stock_before)
    await _check_money(shop, sold, orders)
    await _check_shipments_and_views(shop, sold, orders)
    await _check_nothing_parked(shop)
    return Counter(row["status"] for row in orders.values())


async def _check_stock(shop: Shop, sold: dict[UUID, Any], before: int) -> None:
    async with shop.database("product") as product:
        (stock,) = await product.fetch("SELECT sum(on_hand) AS on_hand, sum(reserved) AS reserved FROM stock")
        held = await product.fetch("SELECT order_id, state FROM reservations")
    assert (stock["on_hand"], stock["reserved"]) == (before - sum(map(_pieces_gone, sold.values())), 0)
    assert {row["order_id"] for row in held if row["state"] == "committed"} == set(sold)
    assert not [row for row in held if row["state"] == "reserved"]


async def _check_money(shop: Shop, sold: dict[UUID, Any], orders: dict[UUID, Any]) -> None:
    """What the provider has of us is what was taken for goods that left, less what went back."""
    taken = {id: row for id, row in sold.items() if row["payment"] == "captured"}
    for row in orders.values():
        lines = sum(line["quantity"] * line["price_cents"] for line in _listed(row["lines"]))
        assert row["total_cents"] == lines + row["shipping_cents"]
        assert 0 <= row["refunded_cents"] <= row["total_cents"]
    async with shop.database("payment") as payment:
        payments = await payment.fetch("SELECT order_id, state, amount_cents FROM payments")
    amounts = {row["order_id"]: row["amount_cents"] for row in payments if row["state"] in ("captured", "refunded")}
    assert amounts == {id: row["total_cents"] for id, row in taken.items()}
    uncollected = {"capture_refused"} if len(taken) < len(sold) else set()
    assert {row["state"] for row in payments} <= {"captured", "refunded", "declined", "voided"} | uncollected
    async with httpx.AsyncClient() as http:
        totals = (await http.get(f"{shop.url('outside')}/totals")).json()
    cents = sum(row["total_cents"] - row["refunded_cents"] for row in taken.values())
    assert (totals["captured_cents"], totals["authorized_cents"]) == (cents, 0)


async def _check_shipments_and_views(shop: Shop, sold: dict[UUID, Any], orders: dict[UUID, Any]) -> None:
    async with shop.database("shipping") as shipping:
        shipments = await shipping.fetch("SELECT order_id, state FROM shipments")
    assert {row["order_id"] for row in shipments if row["state"] in ("delivered", "lost")} == set(sold)
    async with shop.database("aggregator") as aggregator:
        views = {row["order_id"]: row for row in await aggregator.fetch("SELECT order_id, version, status FROM orders")}
    assert {id: row["version"] for id, row in views.items()} == {id: row["version"] for id, row in orders.items()}
    assert {id: row["status"] for id, row in views.items()} == {id: row["status"] for id, row in orders.items()}


async def _check_nothing_parked(shop: Shop) -> None:
    for name in shop.services:
        async with shop.database(name) as service:
            parked = await service.fetch("SELECT type, key, reason FROM dead_letters")
            assert not parked, f"{name} has parked {[dict(row) for row in parked]}"


async def so_far(shop: Shop) -> tuple[int, list[UUID]]:
    """The stock there was at the beginning of everything, and the orders so far."""
    async with shop.database("order") as connection:
        orders = await connection.fetch("SELECT * FROM orders")
    async with shop.database("product") as product:
        on_hand = int(await product.fetchval("SELECT sum(on_hand) FROM stock"))
    return on_hand + sum(_pieces_gone(row) for row in orders if row["status"] in KEPT), [row["id"] for row in orders]


def _pieces_gone(order: Any) -> int:
    """How many have left for an order and not come back."""
    sent = sum(int(line["quantity"]) for line in _listed(order["lines"]))
    back = [refund["lines"] for refund in _listed(order["refunds"]) if refund["state"] != "announced"]
    return sent - sum(int(line["quantity"]) for lines in back for line in lines)


def _listed(json_: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(json_)
    return listed
