"""Stock under orders that come early, late, twice and all at once."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest

from chassis.messaging.message import Message
from chassis.tables import new_id
from chassis.testing import Launched
from contracts.product import (
    CommitStock,
    Line,
    ReleaseStock,
    ReserveStock,
    StockCommitted,
    StockRejected,
    StockReleased,
    StockReserved,
)
from product.models import Reservation, Stock

from .conftest import add_products, stock_levels


def reserve(order_id: UUID, *lines: tuple[UUID, int]) -> ReserveStock:
    return ReserveStock(order_id=order_id, lines=[Line(product_id=id, quantity=count) for id, count in lines])


async def stock_answers(product: Launched) -> Sequence[Message]:
    return await product.sent(StockReserved, StockRejected, StockCommitted, StockReleased)


async def test_all_lines_are_reserved(product: Launched) -> None:
    first, second = await add_products(product, 5, 5)
    order = new_id()
    await product.send(reserve(order, (first, 5), (second, 1)))
    assert await stock_answers(product) == [StockReserved(order_id=order)]
    assert await stock_levels(product, first) == (5, 5, 0)
    assert await stock_levels(product, second) == (5, 1, 0)


async def test_or_none(product: Launched) -> None:
    plenty, little, unknown = *await add_products(product, 5, 1), new_id()
    order = new_id()
    await product.send(reserve(order, (plenty, 1), (little, 2), (unknown, 1)))
    assert await stock_answers(product) == [StockRejected(order_id=order, product_ids=[little, unknown])]
    assert await stock_levels(product, plenty) == (5, 0, 0)


async def test_two_lines_of_one_product_count_together(product: Launched) -> None:
    (id,) = await add_products(product, 5)
    order = new_id()
    await product.send(reserve(order, (id, 3), (id, 3)))
    assert await stock_answers(product) == [StockRejected(order_id=order, product_ids=[id])]


async def test_goods_that_left_are_no_longer_on_hand(product: Launched) -> None:
    (id,) = await add_products(product, 5)
    order = new_id()
    await product.send(reserve(order, (id, 2)), CommitStock(order_id=order))
    assert await stock_answers(product) == [StockReserved(order_id=order), StockCommitted(order_id=order)]
    assert await stock_levels(product, id) == (3, 0, 2)


async def test_released_goods_are_for_others(product: Launched) -> None:
    (id,) = await add_products(product, 2)
    first, second = new_id(), new_id()
    await product.send(reserve(first, (id, 2)), ReleaseStock(order_id=first), reserve(second, (id, 2)))
    expected = [StockReserved(order_id=first), StockReleased(order_id=first), StockReserved(order_id=second)]
    assert await stock_answers(product) == expected
    assert await stock_levels(product, id) == (2, 2, 0)


RESERVED, REJECTED, COMMITTED, RELEASED = StockReserved, StockRejected, StockCommitted, StockReleased
TWICE = {
    "reserve": ("RR", [RESERVED, RESERVED], (5, 2, 0)),
    "commit": ("RCC", [RESERVED, COMMITTED, COMMITTED], (3, 0, 2)),
    "release": ("RLL", [RESERVED, RELEASED, RELEASED], (5, 0, 0)),
    "reserve after commit": ("RCR", [RESERVED, COMMITTED, RESERVED], (3, 0, 2)),
    "reserve after release": ("RLR", [RESERVED, RELEASED, REJECTED], (5, 0, 0)),
    "release before reserve": ("LR", [RELEASED, REJECTED], (5, 0, 0)),
    "release after commit": ("RCL", [RESERVED, COMMITTED, COMMITTED], (3, 0, 2)),
}


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
@pytest.mark.parametrize(("commands", "answered", "stock"), TWICE.values(), ids=TWICE)
async def test_early_late_and_repeated_commands(
    product: Launched, commands: str, answered: list[type], stock: tuple[int, int, int], together: bool
) -> None:
    (id,) = await add_products(product, 5)
    order = new_id()
    made = {"R": reserve(order, (id, 2)), "C": CommitStock(order_id=order), "L": ReleaseStock(order_id=order)}
    if together:
        await product.send(*[made[it] for it in commands])
    else:
        for it in commands:
            await product.send(made[it])
    assert [type(it) for it in await stock_answers(product)] == answered
    assert await stock_levels(product, id) == stock


async def test_a_rejected_wish_stays_rejected(product: Launched) -> None:
    """Also when there is enough by now: the order has been told."""
    (id,) = await add_products(product, 1)
    order = new_id()
    await product.send(reserve(order, (id, 2)))
    async with product.as_staff() as staff:
        await staff.put(f"/stock/{id}", json={"on_hand": 9})
    await product.send(reserve(order, (id, 2)), ReleaseStock(order_id=order))
    rejected = StockRejected(order_id=order, product_ids=[id])
    assert await stock_answers(product) == [rejected, rejected, StockReleased(order_id=order)]
    assert await stock_levels(product, id) == (9, 0, 0)


@pytest.mark.parametrize("before", ["nothing", "rejected", "released"])
async def test_a_commit_of_what_is_not_held_is_parked(product: Launched, before: str) -> None:
    """Goods have left that nobody reserved: that is for a person, and other orders go on."""
    (id,) = await add_products(product, 1)
    order, other = new_id(), new_id()
    if before == "rejected":
        await product.send(reserve(order, (id, 2)))
    if before == "released":
        await product.send(ReleaseStock(order_id=order))
    await product.send(CommitStock(order_id=order), reserve(other, (id, 1)))
    assert StockCommitted not in {type(it) for it in await stock_answers(product)}
    assert StockReserved(order_id=other) in await stock_answers(product)
    assert await stock_levels(product, id) == (1, 1, 0)
    async with product.as_staff() as staff:
        (parked,) = (await staff.get("/internal/parked")).json()
    assert parked["key"] == str(order)
    assert "NothingReserved" in parked["reason"]


async def test_the_same_message_twice_is_answered_once(product: Launched) -> None:
    (id,) = await add_products(product, 5)
    envelope = product.envelope(reserve(new_id(), (id, 2)))
    await product.send(envelope)
    await product.send(envelope)
    assert len(await stock_answers(product)) == 1


async def test_many_orders_at_once_never_oversell(product: Launched) -> None:
    """Several consumers on one database, orders that come and go, staff who change the stock all the while."""
    rng = random.Random(7)
    ids = await add_products(product, *[20] * 4)
    orders = {new_id(): [(id, rng.randint(1, 3)) for id in rng.sample(ids, rng.randint(1, 4))] for _ in range(200)}
    released = set(rng.sample(sorted(orders), 60))
    commands = [
        [reserve(order, *lines), *([ReleaseStock(order_id=order)] if order in released else [])]
        for order, lines in orders.items()
    ]
    async with staff_changing_stock(product, ids, rng) as seen:
        await asyncio.gather(*(consume_in_pairs(product, commands[share::4]) for share in range(4)))
    await product.settled()
    assert len(seen) >= 8
    assert all(0 <= stock.reserved <= stock.on_hand for stock in seen)
    answered = await stock_answers(product)
    held = {it.order_id for it in answered if isinstance(it, StockReserved)} - released
    assert [type(it) for it in answered].count(StockReleased) == 60
    assert 0 < len(held) < 140  # there was too little for some
    for stock in await product.rows(Stock):
        wanted = sum(quantity for order in held for id, quantity in orders[order] if id == stock.product_id)
        assert (stock.reserved, stock.committed) == (wanted, 0)
    await product.send(*[CommitStock(order_id=order) for order in held])
    for stock in await product.rows(Stock):
        await product.send(reserve(new_id(), (stock.product_id, stock.on_hand + 1)))
        assert isinstance((await stock_answers(product))[-1], StockRejected)
        if stock.on_hand:
            await product.send(reserve(new_id(), (stock.product_id, stock.on_hand)))
            assert isinstance((await stock_answers(product))[-1], StockReserved)


async def consume_in_pairs(product: Launched, orders: Sequence[Sequence[Message]]) -> None:
    """As one of several consumers, two orders in a batch."""
    for first in range(0, len(orders), 2):
        batch = [product.envelope(command) for commands in orders[first : first + 2] for command in commands]
        await product.instance.consumer.handle(batch)


@asynccontextmanager
async def staff_changing_stock(product: Launched, ids: list[UUID], rng: random.Random) -> AsyncIterator[list[Stock]]:
    """Within the block staff set the stock of one product after another; what is seen of it meanwhile."""
    seen: list[Stock] = []

    async def change() -> None:
        async with product.as_staff() as staff:
            while True:
                body = {"on_hand": rng.randint(10, 30)}
                assert (await staff.put(f"/stock/{rng.choice(ids)}", json=body)).status_code in (200, 409)
                seen.extend(await product.rows(Stock))

    changes = asyncio.create_task(change())
    yield seen
    assert not changes.done()
    changes.cancel()


async def test_the_database_itself_refuses_to_oversell(product: Launched) -> None:
    (id,) = await add_products(product, 5)
    with pytest.raises(asyncpg.CheckViolationError):
        async with product.instance.database.work() as work:
            await work.execute("UPDATE stock SET reserved = 6 WHERE product_id = $1", id)
    with pytest.raises(asyncpg.CheckViolationError):
        async with product.instance.database.work() as work:
            await work.execute("UPDATE stock SET reserved = -1 WHERE product_id = $1", id)


async def test_there_is_no_reservation_without_a_trace(product: Launched) -> None:
    """Every order that was answered has its row, so that stock can be checked against orders."""
    (id,) = await add_products(product, 1)
    orders = [new_id() for _ in range(3)]
    await product.send(*[reserve(order, (id, 1)) for order in orders])
    holds = {it.order_id: it.state for it in await product.rows(Reservation)}
    assert [holds[order] for order in orders] == ["reserved", "rejected", "rejected"]
