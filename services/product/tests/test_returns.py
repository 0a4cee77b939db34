"""Goods that come back: each return counts once, and never more pieces return than have left."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from chassis.database import new_id
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
    """Reserve and commit an order, so that its goods have left."""
    order_id = new_id()
    goods = [Line(product_id=id, quantity=quantity) for id, quantity in lines]
    await product.send(ReserveStock(order_id=order_id, lines=goods), CommitStock(order_id=order_id))
    return order_id


async def stock_quantities(product: Launched, id: UUID) -> tuple[int, int, int, int]:
    (stock,) = [it for it in await product.rows(Stock) if it.product_id == id]
    return stock.on_hand, stock.reserved, stock.committed, stock.returned


async def dead_letters(product: Launched) -> list[tuple[str, bool]]:
    """The keys of dead letters, and whether the reason is ReturnExceedsCommitted."""
    async with product.as_staff() as staff:
        return [
            (it["key"], "ReturnExceedsCommitted" in it["reason"])
            for it in (await staff.get("/internal/dead-letters")).json()
        ]


async def test_returned_goods_can_be_sold_again(product: Launched) -> None:
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
async def test_goods_that_never_left_cannot_be_returned(product: Launched, before: str) -> None:
    """The command becomes a dead letter, and other orders go on."""
    id, other = await add_products(product, 5, 5)
    order, elsewhere = new_id(), await committed_order(product, (other, 1))
    if before != "nothing":
        goods = [Line(product_id=id, quantity=9 if before == "rejected" else 2)]
        await product.send(ReserveStock(order_id=order, lines=goods))
    if before == "released":
        await product.send(ReleaseStock(order_id=order))
    stock_before = await stock_quantities(product, id)
    await product.send(restock(order, (id, 1)), restock(elsewhere, (other, 1)))
    assert [it.key for it in await product.sent(ItemsRestocked)] == [str(elsewhere)]
    assert await stock_quantities(product, id) == stock_before
    assert await dead_letters(product) == [(str(order), True)]


TOO_MANY = {"of one product": [(0, 4)], "in two lines": [(0, 2), (0, 2)], "of another product": [(0, 1), (2, 1)]}


@pytest.mark.parametrize("lines", TOO_MANY.values(), ids=TOO_MANY)
@pytest.mark.parametrize("earlier", [0, 2])
async def test_no_more_can_be_returned_than_was_committed(
    product: Launched, lines: list[tuple[int, int]], earlier: int
) -> None:
    ids = await add_products(product, 5, 5, 5)
    order = await committed_order(product, (ids[0], 3), (ids[1], 1))
    if earlier:
        await product.send(restock(order, (ids[0], earlier)))
    before = [await stock_quantities(product, id) for id in ids]
    await product.send(restock(order, *((ids[number], quantity) for number, quantity in lines)))
    assert [await stock_quantities(product, id) for id in ids] == before
    assert await dead_letters(product) == [(str(order), True)]


async def test_concurrent_returns_count_once_each(product: Launched) -> None:
    """Several consumers get each return of an order twice. The sixth return is one too many: it is a dead letter."""
    (id,) = await add_products(product, 30)
    order = await committed_order(product, (id, 20))
    returns = [restock(order, (id, 4)) for _ in range(6)]
    batches = [[product.envelope(command)] for command in returns * 2]
    await asyncio.gather(*(product.instance.consumer.handle(batch) for batch in batches))
    await product.settled()
    assert await stock_quantities(product, id) == (30, 0, 20, 20)
    assert len(await product.rows(Return)) == 5
    assert {key for key, _ in await dead_letters(product)} == {str(order)}


async def test_the_database_refuses_more_returned_than_committed(product: Launched) -> None:
    (id,) = await add_products(product, 5)
    with pytest.raises(asyncpg.CheckViolationError):
        async with product.instance.database.work() as work:
            await work.execute("UPDATE stock SET returned = 1 WHERE product_id = $1", id)
