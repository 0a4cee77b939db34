"""A product over time: its prices, low stock, and how it is withdrawn and sold again."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from chassis.database import new_id
from chassis.message import Message
from chassis.testing import Launched
from contracts.product import (
    CommitStock,
    Line,
    ProductChanged,
    ReleaseStock,
    ReserveStock,
    RestockItems,
    StockLow,
    StockRejected,
    StockReserved,
)
from product.models import Reservation

from .conftest import add_products, stock_levels


def reserve_command(id: UUID, quantity: int, order_id: UUID | None = None) -> ReserveStock:
    return ReserveStock(order_id=order_id or new_id(), lines=[Line(product_id=id, quantity=quantity)])


async def test_the_price_history_keeps_every_price_with_its_version(product: Launched) -> None:
    (id,) = await add_products(product, 5)
    async with product.as_staff() as staff:
        for change in ({"price_cents": 500}, {"name": "Other"}, {"price_cents": 500}, {"price_cents": 450}):
            assert (await staff.patch(f"/products/{id}", json=change)).status_code == 200
    async with product.as_customer() as customer:
        prices = (await customer.get(f"/products/{id}/prices")).json()
        unknown = await customer.get(f"/products/{new_id()}/prices")
    assert [(it["version"], it["price_cents"]) for it in prices] == [(1, 450), (2, 500), (4, 450)]
    assert [it["valid_from"] for it in prices] == sorted(it["valid_from"] for it in prices)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "product_not_found")


async def test_concurrent_price_changes_are_all_kept(product: Launched) -> None:
    (id,) = await add_products(product, 5)
    async with product.as_staff() as staff:
        changes = [staff.patch(f"/products/{id}", json={"price_cents": 1_000 + number}) for number in range(20)]
        answers = [it.json() for it in await asyncio.gather(*changes)]
        prices = (await staff.get(f"/products/{id}/prices")).json()
    answered = {(it["version"], it["price_cents"]) for it in answers}
    assert {(it["version"], it["price_cents"]) for it in prices} == {(1, 450), *answered}


async def test_a_product_has_a_weight(product: Launched) -> None:
    ids = await add_products(product, 5, 5, weight_grams=1_200)
    (standard,) = await add_products(product, 5)
    async with product.as_staff() as staff:
        changed = (await staff.patch(f"/products/{ids[0]}", json={"weight_grams": 800})).json()
        weights = [(await staff.get(f"/products/{id}")).json()["weight_grams"] for id in (*ids, standard)]
        bad = await staff.patch(f"/products/{ids[0]}", json={"weight_grams": 0})
    assert (changed["version"], weights, bad.status_code) == (2, [800, 1_200, 500], 422)
    await product.settled()
    sent = [it for it in await product.sent(ProductChanged) if isinstance(it, ProductChanged)]
    assert [it.weight_grams for it in sent] == [1_200, 1_200, 500, 800]


async def test_a_withdrawn_product_is_not_sold(product: Launched) -> None:
    id, other = await add_products(product, 5, 5)
    async with product.as_staff() as staff:
        assert (await staff.delete(f"/products/{id}")).status_code == 204
        missing = [
            await staff.get(f"/products/{id}"),
            await staff.delete(f"/products/{id}"),
            await staff.patch(f"/products/{id}", json={"price_cents": 1}),
        ]
        listed = [
            (await staff.get("/products")).json()["items"],
            (await staff.get("/products?q=tea")).json()["items"],
            (await staff.get("/products?category=Tea")).json()["items"],
            (await staff.get(f"/products?ids={id},{other}")).json()["items"],
        ]
        assert (await staff.get("/categories")).json() == [{"name": "Tea", "products": 1}]
        assert len((await staff.get(f"/products/{id}/prices")).json()) == 1
    assert {(it.status_code, it.json()["code"]) for it in missing} == {(404, "product_not_found")}
    assert [[it["id"] for it in page] for page in listed] == [[str(other)]] * 4
    await product.settled()
    *_, last = await product.sent(ProductChanged)
    assert isinstance(last, ProductChanged)
    assert (last.product_id, last.version, last.withdrawn) == (id, 2, True)


ENDS: dict[str, tuple[type[Message], tuple[int, int, int]]] = {
    "committed": (CommitStock, (3, 0, 2)),
    "released": (ReleaseStock, (5, 0, 0)),
}


@pytest.mark.parametrize(("end", "stock"), ENDS.values(), ids=ENDS)
async def test_an_order_keeps_its_reservation_of_a_withdrawn_product(
    product: Launched, end: type[Any], stock: tuple[int, int, int]
) -> None:
    (id,) = await add_products(product, 5)
    early, late = reserve_command(id, 2), reserve_command(id, 1)
    await product.send(early)
    async with product.as_staff() as staff:
        await staff.delete(f"/products/{id}")
    await product.send(late, early)
    assert await product.sent(StockReserved, StockRejected) == [
        StockReserved(order_id=early.order_id),
        StockRejected(order_id=late.order_id, product_ids=[id]),
        StockReserved(order_id=early.order_id),
    ]
    await product.send(end(order_id=early.order_id))
    assert await stock_levels(product, id) == stock
    if end is CommitStock:
        await product.send(RestockItems(order_id=early.order_id, return_id=new_id(), lines=early.lines))
        assert await stock_levels(product, id) == (5, 0, 2)


async def test_a_withdrawal_races_with_orders(product: Launched) -> None:
    """An order that reserved before the withdrawal keeps its pieces, a later one is rejected, and no piece is lost."""
    (id,) = await add_products(product, 1_000)
    orders = [reserve_command(id, 1) for _ in range(60)]

    async def withdraw() -> None:
        async with product.as_staff() as staff:
            assert (await staff.delete(f"/products/{id}")).status_code == 204

    batches = [[product.envelope(it)] for it in orders]
    first, second = batches[:30], batches[30:]
    await asyncio.gather(*map(product.instance.consumer.handle, first), withdraw())
    await asyncio.gather(*map(product.instance.consumer.handle, second))
    await product.settled()
    states = {it.order_id: it.state for it in await product.rows(Reservation)}
    assert {states[it.order_id] for it in orders[30:]} == {"rejected"}
    reserved = [order_id for order_id, state in states.items() if state == "reserved"]
    assert await stock_levels(product, id) == (1_000, len(reserved), 0)


async def test_a_withdrawn_product_is_sold_again_when_it_is_added(product: Launched) -> None:
    """It gets the new fields and keeps its stock. A product that is already sold stays as it is."""
    id, sold = await add_products(product, 5, 5)
    again = {"name": "New", "category": "Tea", "price_cents": 500, "weight_grams": 300, "on_hand": 99}
    body = [{"id": str(it), **again} for it in (id, sold, id)]
    async with product.as_staff() as staff:
        await staff.delete(f"/products/{id}")
        answers = (await staff.post("/products", json=body)).json()
        shown = (await staff.get(f"/products/{id}")).json()
        prices = (await staff.get(f"/products/{id}/prices")).json()
    assert [(it["name"], it["version"]) for it in answers] == [("New", 3), ("Tea 1", 1), ("New", 3)]
    assert shown == answers[0]
    assert [(it["version"], it["price_cents"]) for it in prices] == [(1, 450), (3, 500)]
    await product.send(reserve_command(id, 5))
    assert await stock_levels(product, id) == (5, 5, 0)
    *_, last = await product.sent(ProductChanged)
    assert isinstance(last, ProductChanged)
    assert (last.version, last.withdrawn, last.weight_grams) == (3, False, 300)


async def test_low_stock_is_sent_once_until_there_is_more(product: Launched) -> None:
    """The limit is 5: of 8 pieces 4 are left, then 3; 6 after a delivery, then 2; 6 after a release, then 0."""
    (id,) = await add_products(product, 8)
    early = reserve_command(id, 4)
    await product.send(early)
    await product.send(reserve_command(id, 1))
    assert await product.sent(StockLow) == [StockLow(product_id=id, available=4)]
    async with product.as_staff() as staff:
        await staff.put(f"/stock/{id}", json={"on_hand": 11})
        await staff.put(f"/stock/{id}", json={"on_hand": 7})
    await product.settled()
    assert await product.sent(StockLow) == [StockLow(product_id=id, available=it) for it in (4, 2)]
    await product.send(ReleaseStock(order_id=early.order_id))
    await product.send(reserve_command(id, 6))
    assert await product.sent(StockLow) == [StockLow(product_id=id, available=it) for it in (4, 2, 0)]


async def test_low_stock_is_sent_once_in_a_batch(product: Launched) -> None:
    (id,) = await add_products(product, 6)
    await product.send(*(reserve_command(id, 1) for _ in range(8)))
    assert await product.sent(StockLow) == [StockLow(product_id=id, available=4)]


async def test_returned_goods_end_low_stock(product: Launched) -> None:
    (id,) = await add_products(product, 6)
    order = reserve_command(id, 3)
    await product.send(order, CommitStock(order_id=order.order_id))
    back = RestockItems(order_id=order.order_id, return_id=new_id(), lines=order.lines)
    await product.send(back, reserve_command(id, 2))
    assert await product.sent(StockLow) == [StockLow(product_id=id, available=it) for it in (3, 4)]


async def test_staff_lists_low_stock(product: Launched) -> None:
    low = set(await add_products(product, *[4] * 25))
    (gone, _plenty) = await add_products(product, 1, 5)
    seen: list[str] = []
    async with product.as_staff() as staff:
        await staff.delete(f"/products/{gone}")
        cursor: str | None = None
        while True:
            params = {"low": "true", "limit": "10"} | ({"cursor": cursor} if cursor else {})
            page = (await staff.get("/stock", params=params)).json()
            seen += [it["product_id"] for it in page["items"]]
            if (cursor := page["next_cursor"]) is None:
                break
        bad = await staff.get("/stock", params={"low": "true", "cursor": "nonsense"})
    assert [UUID(it) for it in seen] == sorted(low)
    assert (bad.status_code, bad.json()["code"]) == (422, "invalid_cursor")
    await product.settled()
    assert len(await product.sent(StockLow)) == 26
