"""Whatever the order of commands and changes by staff, also repeated and late ones, stock agrees with the orders."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from chassis.database import new_id
from chassis.testing import Launched
from contracts.product import CommitStock, Line, ReleaseStock, ReserveStock, RestockItems
from product.models import Reservation, Return, Stock

from .conftest import add_products

T = TypeVar("T")
R = TypeVar("R", Reservation, Return)
PIECES = 6
LINES = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4)), min_size=1, max_size=3)
ORDER, RETURN = st.integers(0, 3), st.integers(0, 2)


class StockMachine(RuleBasedStateMachine):
    """Two products, and four orders with three returns each. Commands wait until `deliver` hands them over."""

    def __init__(self, product: Launched, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.product, self.loop = product, loop
        self.waiting: list[Any] = []

    def run_on_loop(self, it: Awaitable[T]) -> T:
        """Run a coroutine on the service's event loop: Hypothesis itself runs in another thread."""

        async def waited() -> T:
            return await it

        return asyncio.run_coroutine_threadsafe(waited(), self.loop).result()

    @initialize()
    def begin(self) -> None:
        self.products = self.run_on_loop(add_products(self.product, PIECES, PIECES))
        self.orders = [new_id() for _ in range(4)]
        self.returns = [new_id() for _ in range(3)]
        # On hand + committed - returned, by product: orders cannot change this sum.
        self.owned = dict.fromkeys(self.products, PIECES)

    def lines(self, chosen: list[tuple[int, int]]) -> list[Line]:
        return [Line(product_id=self.products[number], quantity=quantity) for number, quantity in chosen]

    @rule(order=ORDER, chosen=LINES)
    def reserve(self, order: int, chosen: list[tuple[int, int]]) -> None:
        self.waiting.append(ReserveStock(order_id=self.orders[order], lines=self.lines(chosen)))

    @rule(order=ORDER)
    def commit(self, order: int) -> None:
        self.waiting.append(CommitStock(order_id=self.orders[order]))

    @rule(order=ORDER)
    def release(self, order: int) -> None:
        self.waiting.append(ReleaseStock(order_id=self.orders[order]))

    @rule(order=ORDER, number=RETURN, chosen=LINES)
    def restock(self, order: int, number: int, chosen: list[tuple[int, int]]) -> None:
        command = RestockItems(order_id=self.orders[order], return_id=self.returns[number], lines=self.lines(chosen))
        self.waiting.append(command)

    @rule(size=st.integers(1, 4), again=st.booleans())
    def deliver(self, size: int, again: bool) -> None:
        """Handle the waiting commands in batches. `again` redelivers each batch, as a broker does after a crash."""
        envelopes = [self.product.envelope(command) for command in self.waiting]
        self.waiting.clear()
        for first in range(0, len(envelopes), size):
            batch = envelopes[first : first + size]
            for _ in range(1 + again):
                self.run_on_loop(self.product.instance.consumer.handle(batch))
        self.run_on_loop(self.drop_dead_letters())

    async def drop_dead_letters(self) -> None:
        """Drop the dead letters, as an operator would, so that later commands of the same order are handled."""
        async with self.product.instance.database.work() as work:
            await work.execute("TRUNCATE dead_letters, dead_letter_keys")

    @rule(number=st.integers(0, 1), pieces=st.integers(0, 12))
    def set_stock(self, number: int, pieces: int) -> None:
        id = self.products[number]
        before = self.run_on_loop(self.stock())[id]
        status = self.run_on_loop(self.put(id, pieces))
        assert status == (409 if pieces < before.reserved else 200)
        if status == 200:
            self.owned[id] += pieces - before.on_hand

    async def put(self, id: UUID, pieces: int) -> int:
        async with self.product.as_staff() as staff:
            return (await staff.put(f"/stock/{id}", json={"on_hand": pieces})).status_code

    async def stock(self) -> dict[UUID, Stock]:
        return {it.product_id: it for it in await self.product.rows(Stock)}

    @invariant()
    def stock_matches_orders(self) -> None:
        if not hasattr(self, "owned"):
            return
        totals = self.run_on_loop(self.totals_of_orders())
        stock = self.run_on_loop(self.stock())
        for id, owned in self.owned.items():
            it = stock[id]
            assert 0 <= it.reserved <= it.on_hand
            assert it.on_hand + it.committed - it.returned == owned
            assert (it.reserved, it.committed, it.returned) == tuple(sums[str(id)] for sums in totals)
            assert it.low == (it.available < 5)

    async def rows_of_orders(self, table: type[R]) -> list[R]:
        return [row for row in await self.product.rows(table) if row.order_id in self.orders]

    async def totals_of_orders(self) -> tuple[Counter[str], Counter[str], Counter[str]]:
        """The reserved, committed and returned pieces by product. No order returned more than it committed."""
        reserved: Counter[str] = Counter()
        committed: Counter[str] = Counter()
        returned: Counter[str] = Counter()
        outstanding: dict[UUID, Counter[str]] = defaultdict(Counter)
        for reservation in await self.rows_of_orders(Reservation):
            if reservation.state == "reserved":
                reserved.update(reservation.lines)
            if reservation.state == "committed":
                committed.update(reservation.lines)
                outstanding[reservation.order_id].update(reservation.lines)
        for row in await self.rows_of_orders(Return):
            returned.update(row.lines)
            outstanding[row.order_id].subtract(row.lines)
        assert all(pieces >= 0 for order in outstanding.values() for pieces in order.values())
        return reserved, committed, returned


async def test_stock_agrees_with_the_orders(product: Launched) -> None:
    loop = asyncio.get_running_loop()

    class Machine(StockMachine):
        def __init__(self) -> None:
            super().__init__(product, loop)

    found = settings(
        max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    await asyncio.to_thread(run_state_machine_as_test, Machine, settings=found)
