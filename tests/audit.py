"""What must hold after any load and any fault, read from the databases of a shop at rest."""

import asyncio
import json
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

if TYPE_CHECKING:
    from shop import Shop

SERVICES = ("aggregator", "order", "payment", "product", "shipping", "user")


async def at_rest(shop: "Shop", accepted: Iterable[UUID], seconds: float = 90) -> None:
    """Wait until every accepted order has ended, with its money where it belongs; no outbox holds a message; and the
    read models have caught up, which after a kill -9 takes as long as the broker waits for the dead consumer."""
    until, ids = time.monotonic() + seconds, list(accepted)
    while left := await _under_way(shop, ids):
        assert time.monotonic() < until, f"no rest after {seconds} s: {left}"
        await asyncio.sleep(0.2)


async def _under_way(shop: "Shop", ids: list[UUID]) -> list[str]:
    left = []
    async with shop.database("order") as order:
        open_orders = await order.fetch(
            "SELECT id, status, payment, stock FROM orders WHERE id = ANY($1) AND NOT (status = 'cancelled'"
            " OR status = 'delivered' AND payment = 'captured' AND stock = 'committed')",
            ids,
        )
        left += [f"order {row['id']} is {row['status']} {row['payment']} {row['stock']}" for row in open_orders]
        versions = set(await order.fetch("SELECT id, version FROM orders"))
    async with shop.database("aggregator") as aggregator:
        if behind := versions - set(await aggregator.fetch("SELECT order_id, version FROM orders")):
            left.append(f"aggregator has not seen {len(behind)} orders as they are")
    for name in SERVICES:
        async with shop.database(name) as service:
            left += [f"{name} has {n} to publish" for n in [await service.fetchval("SELECT count(*) FROM outbox")] if n]
    return left


async def audit(shop: "Shop", accepted: Iterable[UUID], stock_before: int) -> dict[str, int]:
    """Check a shop in which these orders were accepted and nothing else was sold. The orders by status."""
    ids = set(accepted)
    async with shop.database("order") as order:
        orders = {row["id"]: row for row in await order.fetch("SELECT * FROM orders")}
        steps = await order.fetch(
            "SELECT order_id, array_agg(version ORDER BY version) AS versions FROM steps GROUP BY 1"
        )
    assert ids <= orders.keys(), f"lost: {ids - orders.keys()}"
    assert {row["status"] for row in orders.values()} <= {"delivered", "cancelled"}
    assert all(row["reason"] for row in orders.values() if row["status"] == "cancelled")
    assert all(row["versions"] == list(range(1, orders[row["order_id"]]["version"] + 1)) for row in steps)
    sold = {id: row for id, row in orders.items() if row["status"] == "delivered"}
    await _check_stock(shop, sold, stock_before)
    await _check_money(shop, sold, orders)
    await _check_shipments_and_views(shop, sold, orders)
    await _check_nothing_parked(shop)
    return {status: sum(row["status"] == status for row in orders.values()) for status in ("delivered", "cancelled")}


async def _check_stock(shop: "Shop", sold: dict[UUID, Any], before: int) -> None:
    pieces = sum(line["quantity"] for row in sold.values() for line in _lines(row))
    async with shop.database("product") as product:
        (stock,) = await product.fetch("SELECT sum(on_hand) AS on_hand, sum(reserved) AS reserved FROM stock")
        held = await product.fetch("SELECT order_id, hold FROM reservations")
    assert (stock["on_hand"], stock["reserved"]) == (before - pieces, 0)
    assert {row["order_id"] for row in held if row["hold"] == "committed"} == set(sold)
    assert not [row for row in held if row["hold"] == "reserved"]


async def _check_money(shop: "Shop", sold: dict[UUID, Any], orders: dict[UUID, Any]) -> None:
    cents = sum(row["total_cents"] for row in sold.values())
    for row in orders.values():
        lines = sum(line["quantity"] * line["price_cents"] for line in _lines(row))
        assert row["total_cents"] == lines + row["shipping_cents"]
    async with shop.database("payment") as payment:
        payments = await payment.fetch("SELECT order_id, state, amount_cents FROM payments")
    assert {row["order_id"] for row in payments if row["state"] == "captured"} == set(sold)
    assert {row["state"] for row in payments} <= {"captured", "declined", "voided"}
    async with httpx.AsyncClient() as http:
        totals = (await http.get(f"{shop.url('outside')}/totals")).json()
    assert (totals["captured_cents"], totals["authorized_cents"]) == (cents, 0)


async def _check_shipments_and_views(shop: "Shop", sold: dict[UUID, Any], orders: dict[UUID, Any]) -> None:
    async with shop.database("shipping") as shipping:
        shipments = await shipping.fetch("SELECT order_id, state FROM shipments")
    assert {row["order_id"] for row in shipments if row["state"] == "delivered"} == set(sold)
    async with shop.database("aggregator") as aggregator:
        views = {row["order_id"]: row for row in await aggregator.fetch("SELECT order_id, version, status FROM orders")}
    assert {id: row["version"] for id, row in views.items()} == {id: row["version"] for id, row in orders.items()}
    assert {id: row["status"] for id, row in views.items()} == {id: row["status"] for id, row in orders.items()}


async def _check_nothing_parked(shop: "Shop") -> None:
    for name in SERVICES:
        async with shop.database(name) as service:
            parked = await service.fetch("SELECT type, key, reason FROM parked_messages")
            assert not parked, f"{name} has parked {[dict(row) for row in parked]}"


async def so_far(shop: "Shop") -> tuple[int, list[UUID]]:
    """The stock there was at the beginning of everything, and the orders so far."""
    async with shop.database("order") as connection:
        earlier = [row["id"] for row in await connection.fetch("SELECT id FROM orders")]
        sold = await connection.fetchval(
            "SELECT coalesce(sum((line->>'quantity')::int), 0) FROM orders, jsonb_array_elements(lines) line"
            " WHERE status = 'delivered'"
        )
    async with shop.database("product") as product:
        return int(await product.fetchval("SELECT sum(on_hand) FROM stock")) + sold, earlier


def _lines(row: Any) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = json.loads(row["lines"])
    return lines
