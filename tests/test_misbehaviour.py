"""Every way in which card and carrier misbehave, at every step where they are asked, and how each order ends.

One shop takes all orders at once; in the end its books are audited, and staff deals with what is left.
"""

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from loadtests.audit import audit_shop, initial_stock_and_orders, wait_until_settled
from loadtests.shop import Customer, Shop

pytestmark = [pytest.mark.xdist_group("shop"), pytest.mark.usefixtures("left_at_rest")]
HOME, LOST, NEVER_SENT = "10115", "99599", "99598"
# The first request about each of these goes wrong: authorize, capture and refund of a card, send of a postcode.
TROUBLED_CARDS = ("tok_visa", "tok_unavailable", "tok_breaks", "tok_late", "tok_slow")
TROUBLED_PLACES = (HOME, "99503", "99500", "99504")


@dataclass(frozen=True)
class Case:
    """A card, where the parcel goes, whether the customer cancels or sends it back; and what comes of it."""

    card: str = "tok_visa"
    postcode: str = HOME
    country: str = "DE"
    cancels: bool = False
    returns: bool = False
    status: str = "delivered"
    reason: str | None = None
    attention: str | None = None


CASES = [
    *(Case(card, postcode) for card in TROUBLED_CARDS for postcode in TROUBLED_PLACES),
    *(Case(card, LOST, status="refunded", reason="parcel_lost") for card in TROUBLED_CARDS),
    *(Case(card, returns=True, status="refunded") for card in TROUBLED_CARDS),
    *(
        Case(card, NEVER_SENT, cancels=True, status="cancelled", reason="cancelled_by_customer")
        for card in TROUBLED_CARDS
    ),
    *(Case("tok_declined", postcode, status="cancelled", reason="payment_declined") for postcode in TROUBLED_PLACES),
    *(Case(card, country="XX", status="cancelled", reason="shipment_rejected") for card in TROUBLED_CARDS),
    Case("tok_not_captured", attention="capture_refused"),
    Case("tok_not_captured", LOST, status="refunded", reason="parcel_lost"),
    Case("tok_not_captured_once", attention="capture_refused"),
    Case("tok_not_refunded", LOST, status="undelivered", reason="parcel_lost", attention="refund_refused"),
    Case("tok_not_refunded", returns=True, attention="refund_refused"),
]


async def test_each_misbehaviour_ends_as_the_table_says(shop: Shop) -> None:
    before, earlier = await initial_stock_and_orders(shop)
    async with shop.database("product") as connection:
        product_id = str(await connection.fetchval("SELECT product_id FROM stock WHERE on_hand > 300 LIMIT 1"))
    async with shop.database("order") as connection:
        orders = WatchedOrders(connection)
        ended = await asyncio.gather(*[_live(shop, orders, case, product_id) for case in CASES])
        wrong = [f"{case}: {found}" for case, (_, found) in zip(CASES, ended, strict=True) if found is not None]
        assert not wrong, "\n".join(wrong)
        stuck = {str(id): case for case, (id, _) in zip(CASES, ended, strict=True) if case.attention}
        await _staff_deals_with(shop, orders, stuck)
    accepted = [*earlier, *[id for id, _ in ended]]
    await wait_until_settled(shop, [id for id in accepted if str(id) not in stuck])
    await audit_shop(shop, accepted, before)


class WatchedOrders:
    """The orders, read over one connection for all cases: the server has not many more than the services need."""

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self._connection, self._turn = connection, asyncio.Lock()

    async def differ(self, order_id: UUID, expected: dict[str, str | None]) -> str | None:
        """Wait until an order is as expected: None. What it is instead, when time is up."""
        for _ in range(300):
            async with self._turn:
                (row,) = await self._connection.fetch("SELECT * FROM orders WHERE id = $1", order_id)
            found = {name: row[name] for name in expected}
            if found == expected:
                return None
            different = f"{found}, payment {row['payment']}, shipment {row['shipment']}"
            await asyncio.sleep(0.2)
        return different


async def _live(shop: Shop, orders: WatchedOrders, case: Case, product_id: str) -> tuple[UUID, str | None]:
    """The order of the case, and in what it differs from what was expected."""
    async with shop.customer() as customer, shop.staff() as staff:
        home = {"name": "Ada", "street": "1 Test Street", "city": "Berlin"}
        place = {**home, "postcode": case.postcode, "country": case.country}
        customer.address_id = (await customer.http.post("/me/addresses", json=place)).json()["id"]
        order_id = await customer.buy(product_id, 1, case.card)
        if case.cancels:
            await orders.differ(order_id, {"status": "confirmed"})
            (await customer.http.post(f"/orders/{order_id}/cancellation")).raise_for_status()
        if case.returns:
            await orders.differ(order_id, {"status": "delivered"})
            await _send_back(customer, staff, order_id, product_id)
        expected = {"status": case.status, "reason": case.reason, "attention": case.attention}
        return order_id, await orders.differ(order_id, expected)


async def _send_back(customer: Customer, staff: httpx.AsyncClient, order_id: UUID, product_id: str) -> None:
    body = {"lines": [{"product_id": product_id, "quantity": 1}]}
    answer = await customer.http.post(
        f"/orders/{order_id}/returns", json=body, headers={"Idempotency-Key": f"back {order_id}"}
    )
    answer.raise_for_status()
    path = f"/order/orders/{order_id}/returns/{answer.json()['id']}/receipt"
    (await staff.post(path)).raise_for_status()


async def _staff_deals_with(shop: Shop, orders: WatchedOrders, stuck: dict[str, Case]) -> None:
    """All that is stuck is found, and nothing else; what can go on goes on, and the rest is written off."""
    shown = {it["order_id"]: it["attention"] for it in json.loads(_agora(shop, "stuck", "--json"))}
    assert shown == {id: case.attention for id, case in stuck.items()}
    for id, case in stuck.items():
        if case.attention == "capture_refused":
            _agora(shop, "resume", id, *(["--write-off"] if case.card == "tok_not_captured" else []))
            payment = "voided" if case.card == "tok_not_captured" else "captured"
            assert await orders.differ(UUID(id), {"attention": None, "payment": payment}) is None
    async with httpx.AsyncClient() as http:  # the account that takes no money back is replaced by one that does
        good = {"cards": {"tok_not_refunded": {"not_refunded": None}}}
        (await http.put(f"{shop.url('simulators')}/settings", json=good)).raise_for_status()
    for id, case in stuck.items():
        if case.attention == "refund_refused":
            _agora(shop, "resume", id)
            assert await orders.differ(UUID(id), {"attention": None, "status": "refunded"}) is None


def _agora(shop: Shop, *arguments: str) -> str:
    command = [sys.executable, "-m", "cli", "orders", *arguments]
    return subprocess.run(command, cwd=shop.folder, check=True, capture_output=True, text=True).stdout
