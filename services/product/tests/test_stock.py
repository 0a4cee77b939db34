"""Stock under commands that arrive early, late, twice and concurrently."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest

from chassis.database import new_id
from chassis.message import Message
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


def reserve_command(order_id: UUID, *lines: tuple[UUID, int]) -> ReserveStock:
    return ReserveStock(order_id=order_id, lines=[Line(product_id=id, quantity=count) for id, count in lines])


async def stock_answers(product: Launched) -> Sequence[Message]:
    return await product.sent(StockReserved, StockRejected, StockCommitted, StockReleased)


async def test_all_lines_are_reserved(product: Launched) -> None:
    first, second = await add_products(product, 5, 5)
    order = new_id()
    await product.send(reserve_command(order, (first, 5), (second, 1)))
    assert await stock_answers(product) == [StockReserved(order_id=order)]
    assert await stock_levels(product, first) == (5, 5, 0)
    assert await stock_levels(product, second) == (5, 1, 0)


async def test_no_line_is_reserved_when_one_is_short(product: Launched) -> None:
    plenty, little, unknown = *await add_products(product, 5, 1), new_id()
    order = new_id()
    await product.send(reserve_command(order, (plenty, 1), (little, 2), (unknown, 1)))
    assert await stock_answers(product) == [StockRejected(order_id=order, product_ids=[little, unknown])]
    assert await stock_levels(product, plenty) == (5, 0, 0)


async def test_two_lines_of_one_product_count_together(product: Launched) -> None:
    (id,) = await add_products(product, 5)
    order = new_id()
    await product.send(reserve_command(order, (id, 3), (id, 3)))
    assert await stock_answers(product) == [StockRejected(order_id=order, product_ids=[id])]


async def test_committed_goods_are_no_longer_on_hand(product: Launched) -> None:
    (id,) = await add_products(product, 5)
    order = new_id()
    await product.send(reserve_command(order, (id, 2)), CommitStock(order_id=order))
    assert await stock_answers(product) == [StockReserved(order_id=order), StockCommitted(order_id=order)]
    assert await stock_levels(product, id) == (3, 0, 2)


async def test_released_goods_can_be_reserved_by_another_order(product: Launched) -> None:
    (id,) = await add_products(product, 2)
    first, second = new_id(), new_id()
    await product.send(reserve_command(first, (id, 2)), ReleaseStock(order_id=first), reserve_command(second, (id, 2)))
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
    made = {"R": reserve_command(order, (id, 2)), "C": CommitStock(order_id=order), "L": ReleaseStock(order_id=order)}
    if together:
        await product.send(*[made[it] for it in commands])
    else:
        for it in commands:
            await product.send(made[it])
    assert [type(it) for it in await stock_answers(product)] == answered
    assert await stock_levels(product, id) == stock


async def test_a_rejected_reservation_stays_rejected(product: Launched) -> None:
    """Even when there is enough stock by then, because the order already has its answer."""
    (id,) = await add_products(product, 1)
    order = new_id()
    await product.send(reserve_command(order, (id, 2)))
    async with product.as_staff() as staff:
        await staff.put(f"/stock/{id}", json={"on_hand": 9})
    await product.send(reserve_command(order, (id, 2)), ReleaseStock(order_id=order))
    rejected = StockRejected(order_id=order, product_ids=[id])
    assert await stock_answers(product) == [rejected, rejected, StockReleased(order_id=order)]
    assert await stock_levels(product, id) == (9, 0, 0)


@pytest.mark.parametrize("before", ["nothing", "rejected", "released"])
async def test_a_commit_without_a_reservation_is_a_dead_letter(product: Launched, before: str) -> None:
    """An operator has to find out why goods left that were not reserved. Other orders go on."""
    (id,) = await add_products(product, 1)
    order, other = new_id(), new_id()
    if before == "rejected":
        await product.send(reserve_command(order, (id, 2)))
    if before == "released":
        await product.send(ReleaseStock(order_id=order))
    await product.send(CommitStock(order_id=order), reserve_command(other, (id, 1)))
    assert StockCommitted not in {type(it) for it in await stock_answers(product)}
    assert StockReserved(order_id=other) in await stock_answers(product)
    assert await stock_levels(product, id) == (1, 1, 0)
    async with product.as_staff() as staff:
        (dead_letter,) = (await staff.get("/internal/dead-letters")).json()
    assert dead_letter["key"] == str(order)
    assert "NothingReserved" in dead_letter["reason"]


async def test_a_redelivered_message_is_answered_once(product: Launched) -> None:
    (id,) = await add_products(product, 5)
    envelope = product.envelope(reserve_command(new_id(), (id, 2)))
    await product.send(envelope)
    await product.send(envelope)
    assert len(await stock_answers(product)) == 1


async def test_concurrent_orders_never_oversell(product: Launched) -> None:
    """Four consumers work on one database, orders come and go, and staff changes the stock meanwhile."""
    rng = random.Random(7)
    ids = await add_products(product, *[20] * 4)
    orders = {new_id(): [(id, rng.randint(1, 3)) for id in rng.sample(ids, rng.randint(1, 4))] for _ in range(200)}
    released = set(rng.sample(sorted(orders), 60))
    commands = [
        [reserve_command(order, *lines), *([ReleaseStock(order_id=order)] if order in released else [])]
        for order, lines in orders.items()
    ]
    async with staff_changing_stock(product, ids, rng) as (seen, changed_twice):
        await asyncio.gather(*(consume_in_pairs(product, commands[share:100:4]) for share in range(4)))
        await changed_twice.wait()  # however slow staff is, half of the orders come after two changes
        await asyncio.gather(*(consume_in_pairs(product, commands[100 + share :: 4]) for share in range(4)))
    await product.settled()
    assert len(seen) >= 8
    assert all(0 <= stock.reserved <= stock.on_hand for stock in seen)
    answered = await stock_answers(product)
    reserved = {it.order_id for it in answered if isinstance(it, StockReserved)} - released
    assert [type(it) for it in answered].count(StockReleased) == 60
    assert 0 < len(reserved) < 140  # there was too little stock for some
    for stock in await product.rows(Stock):
        wanted = sum(quantity for order in reserved for id, quantity in orders[order] if id == stock.product_id)
        assert (stock.reserved, stock.committed) == (wanted, 0)
    await product.send(*[CommitStock(order_id=order) for order in reserved])
    for stock in await product.rows(Stock):
        await product.send(reserve_command(new_id(), (stock.product_id, stock.on_hand + 1)))
        assert isinstance((await stock_answers(product))[-1], StockRejected)
        if stock.on_hand:
            await product.send(reserve_command(new_id(), (stock.product_id, stock.on_hand)))
            assert isinstance((await stock_answers(product))[-1], StockReserved)


async def consume_in_pairs(product: Launched, orders: Sequence[Sequence[Message]]) -> None:
    """Act as one of several consumers that gets two orders in a batch."""
    for first in range(0, len(orders), 2):
        batch = [product.envelope(command) for commands in orders[first : first + 2] for command in commands]
        await product.instance.consumer.handle(batch)


@asynccontextmanager
async def staff_changing_stock(
    product: Launched, ids: list[UUID], rng: random.Random
) -> AsyncIterator[tuple[list[Stock], asyncio.Event]]:
    """Let staff change the stock of random products during the block.

    Yields the stock rows that are read after each change, and an event for the second change.
    """
    seen: list[Stock] = []
    changed_twice = asyncio.Event()

    async def change() -> None:
        async with product.as_staff() as staff:
            while True:
                body = {"on_hand": rng.randint(10, 30)}
                assert (await staff.put(f"/stock/{rng.choice(ids)}", json=body)).status_code in (200, 409)
                seen.extend(await product.rows(Stock))
                if len(seen) >= 2 * len(ids):
                    changed_twice.set()

    changes = asyncio.create_task(change())
    yield seen, changed_twice
    assert not changes.done()
    changes.cancel()


async def test_the_database_refuses_to_oversell(product: Launched) -> None:
    (id,) = await add_products(product, 5)
    with pytest.raises(asyncpg.CheckViolationError):
        async with product.instance.database.work() as work:
            await work.execute("UPDATE stock SET reserved = 6 WHERE product_id = $1", id)
    with pytest.raises(asyncpg.CheckViolationError):
        async with product.instance.database.work() as work:
            await work.execute("UPDATE stock SET reserved = -1 WHERE product_id = $1", id)


async def test_every_answered_order_has_a_reservation_row(product: Launched) -> None:
    """So that an audit can compare stock with orders."""
    (id,) = await add_products(product, 1)
    orders = [new_id() for _ in range(3)]
    await product.send(*[reserve_command(order, (id, 1)) for order in orders])
    states = {it.order_id: it.state for it in await product.rows(Reservation)}
    assert [states[order] for order in orders] == ["reserved", "rejected", "rejected"]
