"""Goods that come back: each return once, and never more than left."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from chassis.tables import new_id
from chassis.testing import Launched
from contracts.product import (
    CommitStock,
    ItemsRestocked,
    Line,
    ReleaseStock,
    ReserveStock,
    RestockItems,
    StockTotals,
)
from product.models import Return, Stock

from .conftest import add_products


def restock(order_id: UUID, *lines: tuple[UUID, int], return_id: UUID | None = None) -> RestockItems:
    back = [Line(product_id=id, quantity=quantity) for id, quantity in lines]
    return RestockItems(order_id=order_id, return_id=return_id or new_id(), lines=back)


async def committed_order(product: Launched, *lines: tuple[UUID, int]) -> UUID:
    """An order whose goods have left."""
    order_id = new_id()
    goods = [Line(product_id=id, quantity=quantity) for id, quantity in lines]
    await product.send(ReserveStock(order_id=order_id, lines=goods), CommitStock(order_id=order_id))
    return order_id


async def stock_quantities(product: Launched, id: UUID) -> tuple[int, int, int, int]:
    (stock,) = [it for it in await product.rows(Stock) if it.product_id == id]
    return stock.on_hand, stock.reserved, stock.committed, stock.returned


async def parked_returns(product: Launched) -> list[tuple[str, bool]]:
    """The keys of parked messages, and whether the reason is that the goods never left."""
    async with product.as_staff() as staff:
        return [
            (it["key"], "ReturnExceedsCommitted" in it["reason"]) for it in (await staff.get("/internal/parked")).json()
        ]


async def test_goods_that_came_back_are_for_sale(product: Launched) -> None:
    first, second = await add_products(product, 5, 5)
    order = await committed_order(product, (first, 3), (second, 1))
    back = restock(order, (first, 2))
    await product.send(back)
    assert await product.sent(ItemsRestocked) == [ItemsRestocked(order_id=order, return_id=back.return_id)]
    assert await stock_quantities(product, first) == (4, 0, 3, 2)
    assert await stock_quantities(product, second) == (4, 0, 1, 0)
    async with product.as_staff() as staff:
        totals = StockTotals.model_validate((await staff.get("/totals")).json())
    assert totals == StockTotals(on_hand=8, reserved=0, committed=4, returned=2)
    assert totals.on_hand + totals.committed - totals.returned == 10


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
async def test_a_return_counts_once(product: Launched, together: bool) -> None:
    (id,) = await add_products(product, 5)
    order = await committed_order(product, (id, 3))
    same = restock(order, (id, 1))
    commands = [same, same, restock(order, (id, 2), return_id=same.return_id), restock(order, (id, 2))]
    for batch in [commands] if together else [[command] for command in commands]:
        await product.send(*batch)
    assert len(await product.sent(ItemsRestocked)) == 4
    assert await stock_quantities(product, id) == (5, 0, 3, 3)
    assert sorted(sum(it.lines.values()) for it in await product.rows(Return)) == [1, 2]


@pytest.mark.parametrize("before", ["nothing", "reserved", "rejected", "released"])
async def test_what_never_left_does_not_come_back(product: Launched, before: str) -> None:
    """Somebody has to look, and other orders go on."""
    id, other = await add_products(product, 5, 5)
    order, elsewhere = new_id(), await committed_order(product, (other, 1))
    if before != "nothing":
        goods = [Line(product_id=id, quantity=9 if before == "rejected" else 2)]
        await product.send(ReserveStock(order_id=order, lines=goods))
    if before == "released":
        await product.send(ReleaseStock(order_id=order))
    held = await stock_quantities(product, id)
    await product.send(restock(order, (id, 1)), restock(elsewhere, (other, 1)))
    assert [it.key for it in await product.sent(ItemsRestocked)] == [str(elsewhere)]
    assert await stock_quantities(product, id) == held
    assert await parked_returns(product) == [(str(order), True)]


MORE = {"of one product": [(0, 4)], "in two lines": [(0, 2), (0, 2)], "of another product": [(0, 1), (2, 1)]}


@pytest.mark.parametrize("lines", MORE.values(), ids=MORE)
@pytest.mark.parametrize("earlier", [0, 2])
async def test_no_more_comes_back_than_left(product: Launched, lines: list[tuple[int, int]], earlier: int) -> None:
    ids = await add_products(product, 5, 5, 5)
    order = await committed_order(product, (ids[0], 3), (ids[1], 1))
    if earlier:
        await product.send(restock(order, (ids[0], earlier)))
    before = [await stock_quantities(product, id) for id in ids]
    await product.send(restock(order, *((ids[number], quantity) for number, quantity in lines)))
    assert [await stock_quantities(product, id) for id in ids] == before
    assert await parked_returns(product) == [(str(order), True)]


async def test_many_returns_at_once(product: Launched) -> None:
    """Of one order, by several consumers, each of them twice: every piece once, and the last one too many is parked."""
    (id,) = await add_products(product, 30)
    order = await committed_order(product, (id, 20))
    returns = [restock(order, (id, 4)) for _ in range(6)]
    batches = [[product.envelope(command)] for command in returns * 2]
    await asyncio.gather(*(product.instance.consumer.handle(batch) for batch in batches))
    await product.settled()
    assert await stock_quantities(product, id) == (30, 0, 20, 20)
    assert len(await product.rows(Return)) == 5
    assert {key for key, _ in await parked_returns(product)} == {str(order)}


async def test_the_database_itself_takes_no_more_back(product: Launched) -> None:
    (id,) = await add_products(product, 5)
    with pytest.raises(asyncpg.CheckViolationError):
        async with product.instance.database.work() as work:
            await work.execute("UPDATE stock SET returned = 1 WHERE product_id = $1", id)
