"""The audit: what must hold after any load and any fault, read from the databases of a shop that has settled."""

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

SENT = ("delivered", "refunded")  # statuses of orders whose goods have left the stock
_UNSETTLED = """
SELECT id, status, payment, stock FROM orders WHERE id = ANY($1) AND NOT (
    status = 'cancelled' OR status IN ('delivered', 'refunded') AND stock = 'committed'
    AND (payment IN ('captured', 'voided') OR attention IS NOT NULL)
    AND NOT refunds @? '$[*] ? (@.state == "awaiting_capture" || @.state == "requested")')
"""
_VERSIONS = "SELECT count(*), sum(version) FROM orders"


async def wait_until_settled(shop: Shop, accepted: Iterable[UUID], seconds: float = 90) -> None:
    """Wait until every accepted order has ended and its money is settled, all outboxes are empty, and the read models
    have caught up. After kill -9 of a consumer, that takes until the broker gives its partitions to another."""
    until, ids = time.monotonic() + seconds, list(accepted)
    async with (
        AsyncExitStack() as stack
    ):  # one connection each for all polls, so that polling costs the shop next to nothing
        databases = {name: await stack.enter_async_context(shop.database(name)) for name in shop.services}
        while left := await _unsettled(databases, ids):
            assert time.monotonic() < until, f"not settled after {seconds} s: {left}"
            await asyncio.sleep(0.2)


async def _unsettled(databases: dict[str, Any], ids: list[UUID]) -> list[str]:
    """What is unfinished, in the order in which it is to finish."""
    if orders := await databases["order"].fetch(_UNSETTLED, ids):
        return [f"order {row['id']} is {row['status']} {row['payment']} {row['stock']}" for row in orders]
    counts = {name: await database.fetchval("SELECT count(*) FROM outbox") for name, database in databases.items()}
    if left := [f"{name} has {count} to publish" for name, count in counts.items() if count]:
        return left
    # A read model never has more orders than the owner, nor later versions, so equal sums mean equal rows.
    sums = [await databases[name].fetchrow(_VERSIONS) for name in ("order", "aggregator")]
    return [] if sums[0] == sums[1] else [f"aggregator has {sums[1]} orders and versions, order {sums[0]}"]


async def audit_shop(shop: Shop, accepted: Iterable[UUID], stock_before: int) -> Counter[str]:
    """Audit a shop in which these orders were accepted and nothing else was sold. Returns the number by status."""
    ids = set(accepted)
    async with shop.database("order") as order:
        orders = {row["id"]: row for row in await order.fetch("SELECT * FROM orders")}
        steps = await order.fetch(
            "SELECT order_id, array_agg(version ORDER BY version) AS versions FROM steps GROUP BY 1"
        )
    assert ids <= orders.keys(), f"lost: {ids - orders.keys()}"
    assert {row["status"] for row in orders.values()} <= {*SENT, "cancelled"}
    assert all(row["reason"] for row in orders.values() if row["status"] == "cancelled")
    assert all(row["versions"] == list(range(1, orders[row["order_id"]]["version"] + 1)) for row in steps)
    sold = {id: row for id, row in orders.items() if row["status"] in SENT}
    await _check_stock(shop, sold, stock_before)
    await _check_money(shop, sold, orders)
    await _check_shipments_and_views(shop, sold, orders)
    await _check_no_dead_letters(shop)
    return Counter(row["status"] for row in orders.values())


async def _check_stock(shop: Shop, sold: dict[UUID, Any], before: int) -> None:
    async with shop.database("product") as product:
        (stock,) = await product.fetch("SELECT sum(on_hand) AS on_hand, sum(reserved) AS reserved FROM stock")
        held = await product.fetch("SELECT order_id, state FROM reservations")
    assert (stock["on_hand"], stock["reserved"]) == (before - sum(map(_pieces_sent, sold.values())), 0)
    assert {row["order_id"] for row in held if row["state"] == "committed"} == set(sold)
    assert not [row for row in held if row["state"] == "reserved"]


async def _check_money(shop: Shop, sold: dict[UUID, Any], orders: dict[UUID, Any]) -> None:
    """The provider holds for us what was captured for goods that were sent, less what was refunded."""
    captured = {id: row for id, row in sold.items() if row["payment"] == "captured"}
    for row in orders.values():
        lines = sum(line["quantity"] * line["price_cents"] for line in _json_list(row["lines"]))
        assert row["total_cents"] == lines + row["shipping_cents"]
        assert 0 <= row["refunded_cents"] <= row["total_cents"]
    async with shop.database("payment") as payment:
        payments = await payment.fetch("SELECT order_id, state, amount_cents FROM payments")
    amounts = {row["order_id"]: row["amount_cents"] for row in payments if row["state"] == "captured"}
    assert amounts == {id: row["total_cents"] for id, row in captured.items()}
    uncollected = {"capture_refused"} if len(captured) < len(sold) else set()
    assert {row["state"] for row in payments} <= {"captured", "declined", "voided"} | uncollected
    async with httpx.AsyncClient() as http:
        totals = (await http.get(f"{shop.url('simulators')}/totals")).json()
    cents = sum(row["total_cents"] - row["refunded_cents"] for row in captured.values())
    assert (totals["captured_cents"], totals["authorized_cents"]) == (cents, 0)


async def _check_shipments_and_views(shop: Shop, sold: dict[UUID, Any], orders: dict[UUID, Any]) -> None:
    async with shop.database("shipping") as shipping:
        shipments = await shipping.fetch("SELECT order_id, state FROM shipments")
    assert {row["order_id"] for row in shipments if row["state"] in ("delivered", "lost")} == set(sold)
    async with shop.database("aggregator") as aggregator:
        views = {row["order_id"]: row for row in await aggregator.fetch("SELECT order_id, version, status FROM orders")}
    assert {id: row["version"] for id, row in views.items()} == {id: row["version"] for id, row in orders.items()}
    assert {id: row["status"] for id, row in views.items()} == {id: row["status"] for id, row in orders.items()}


async def _check_no_dead_letters(shop: Shop) -> None:
    for name in shop.services:
        async with shop.database(name) as service:
            dead_letters = await service.fetch("SELECT type, key, reason FROM dead_letters")
            assert not dead_letters, f"{name} has dead letters: {[dict(row) for row in dead_letters]}"


async def initial_stock_and_orders(shop: Shop) -> tuple[int, list[UUID]]:
    """The stock before the first order, and the ids of all orders until now."""
    async with shop.database("order") as connection:
        orders = await connection.fetch("SELECT * FROM orders")
    async with shop.database("product") as product:
        on_hand = int(await product.fetchval("SELECT sum(on_hand) FROM stock"))
    return on_hand + sum(_pieces_sent(row) for row in orders if row["status"] in SENT), [row["id"] for row in orders]


def _pieces_sent(order: Any) -> int:
    """The pieces that were sent for an order and not returned."""
    sent = sum(int(line["quantity"]) for line in _json_list(order["lines"]))
    back = [refund["lines"] for refund in _json_list(order["refunds"]) if refund["state"] != "announced"]
    return sent - sum(int(line["quantity"]) for lines in back for line in lines)


def _json_list(text: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(text)
    return items
