"""The read models built anew: a second generation grows from the owners' exports and from all events, then it serves.

Events go into both meanwhile, and of an export and an event the higher version stays. An export is read after its
generation is there, so it knows what was announced before; what is announced later finds the generation.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from aggregator import queries
from aggregator.errors import RebuildNotFound
from aggregator.handlers import FIRST_GENERATION, keep_order, keep_product
from aggregator.models import Generation, Order, Product, Rebuild, Stage, Use
from aggregator.orders import step_of
from chassis.database import UnitOfWork
from chassis.jobs import Deadlines
from chassis.service import Runtime
from chassis.web import Operator, Page, Router, Work
from contracts import order, product
from contracts.aggregator import RebuildView
from contracts.order import ExportedOrder
from contracts.product import ProductView

router, deadlines = Router(), Deadlines()
LEASE_SECONDS = 30  # how long after a crash another process goes on
TURN_SECONDS = 10  # how long one works before it renews the lease
PAGE, SWEPT = 100, 2_000
EXPORTS: dict[Stage, tuple[Any, str, Any]] = {
    Stage.PRODUCTS: (product.api, "/exports/products", Page[ProductView]),
    Stage.ORDERS: (order.api, "/exports/orders", Page[ExportedOrder]),
}


@router.post("/rebuilds", status_code=202)
async def start_rebuild(work: Work, _: Operator) -> RebuildView:
    """Begin, unless one is under way."""
    await work.execute("LOCK TABLE rebuilds IN SHARE ROW EXCLUSIVE MODE")  # two may ask at once
    newest = await queries.newest_rebuild(work)
    if newest is not None and newest.stage != Stage.DONE:
        return _view(newest)
    known = await work.lock(Generation, use=list(Use))
    if not known:
        known = [work.add(Generation.new(id=FIRST_GENERATION, use=Use.SERVES))]
    growing = work.add(Generation.new(id=max(it.id for it in known) + 1, use=Use.GROWS))
    return _view(work.add(Rebuild.new(generation=growing.id, started_at=work.now, due_at=work.now)))


@router.get("/rebuilds/current")
async def current_rebuild(work: Work, _: Operator) -> RebuildView:
    """The one under way, or the last."""
    newest = await queries.newest_rebuild(work)
    if newest is None:
        raise RebuildNotFound()
    return _view(newest)


async def advance(rebuild: Rebuild, runtime: Runtime) -> None:
    """Some pages, each with its place in one transaction, so that nothing is done twice or left out after a crash."""
    until = time.monotonic() + TURN_SECONDS
    while rebuild.stage != Stage.DONE and time.monotonic() < until and not runtime.stop.is_set():
        page = await _exported(rebuild, runtime)
        async with runtime.database.work() as work:
            (row,) = await work.lock(Rebuild, generation=[rebuild.generation])
            if (row.stage, row.cursor) != (rebuild.stage, rebuild.cursor):
                return  # it was taken for dead, and another has gone on
            await STEPS[row.stage](row, page, work)
        rebuild = row


@deadlines(Rebuild.due_at, call=advance, lease_seconds=LEASE_SECONDS)
def go_on(rebuild: Rebuild, _: None, work: UnitOfWork) -> None:
    rebuild.due_at = None if rebuild.stage == Stage.DONE else work.now


async def _exported(rebuild: Rebuild, runtime: Runtime) -> Any:
    if rebuild.stage not in EXPORTS:
        return None
    api, path, into = EXPORTS[rebuild.stage]
    place = {"cursor": rebuild.cursor} if rebuild.cursor else {}
    return await runtime.client(api, as_service=True).get(path, params={**place, "limit": PAGE}, into=into)


async def _keep_products(rebuild: Rebuild, page: Page[ProductView], work: UnitOfWork) -> None:
    await work.lock(Product, id=[it.id for it in page.items])
    for it in page.items:
        keep_product(rebuild.generation, it.id, it.model_dump(exclude={"id"}) | {"withdrawn": False}, work)
    rebuild.products += len(page.items)
    rebuild.cursor = page.next_cursor
    if rebuild.cursor is None:
        rebuild.stage = Stage.ORDERS


async def _keep_orders(rebuild: Rebuild, page: Page[ExportedOrder], work: UnitOfWork) -> None:
    await work.lock(Order, order_id=[it.order.order_id for it in page.items])
    for it in page.items:
        keep_order(rebuild.generation, it.order, map(step_of, it.steps), work)
    rebuild.orders += len(page.items)
    rebuild.cursor = page.next_cursor
    if rebuild.cursor is None:
        await _switch(rebuild, work)


async def _switch(rebuild: Rebuild, work: UnitOfWork) -> None:
    """With the commit everybody sees the new generation, and all of it."""
    for it in await work.lock(Generation, use=list(Use)):
        if it.id == rebuild.generation:
            it.use = Use.SERVES
        else:
            work.remove(it)
    rebuild.stage = Stage.OLD_PRODUCTS


async def _sweep_products(rebuild: Rebuild, _: None, work: UnitOfWork) -> None:
    await _sweep("products", "id", rebuild, work, following=Stage.OLD_ORDERS)


async def _sweep_orders(rebuild: Rebuild, _: None, work: UnitOfWork) -> None:
    await _sweep("orders", "order_id", rebuild, work, following=Stage.DONE)
    if rebuild.stage == Stage.DONE:
        rebuild.done_at = work.now


async def _sweep(table: str, key: str, rebuild: Rebuild, work: UnitOfWork, *, following: Stage) -> None:
    """Rows of all generations that are gone, also those that a batch has left behind which began before a switch."""
    removed = await work.execute(queries.remove_old(table, key), rebuild.cursor, SWEPT)
    rebuild.removed += len(removed)
    rebuild.cursor = str(max(row[key] for row in removed)) if removed else None
    if not removed:
        rebuild.stage = following


STEPS: dict[Stage, Callable[[Rebuild, Any, UnitOfWork], Awaitable[None]]] = {
    Stage.PRODUCTS: _keep_products,
    Stage.ORDERS: _keep_orders,
    Stage.OLD_PRODUCTS: _sweep_products,
    Stage.OLD_ORDERS: _sweep_orders,
}


def _view(rebuild: Rebuild) -> RebuildView:
    return RebuildView.model_validate(rebuild, from_attributes=True)
