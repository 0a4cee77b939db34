"""The read models built anew: a second generation grows from the owners' exports and from all events, then it serves.

Events go into both meanwhile, and of an export and an event the higher version stays. An export is read after its
generation is there, so it knows what was announced before; what is announced later finds the generation.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from aggregator import queries
from aggregator.errors import RebuildNotFound
from aggregator.handlers import FIRST_GENERATION, upsert_order, upsert_product
from aggregator.models import Generation, GenerationState, OrderReadModel, ProductReadModel, Rebuild, RebuildStage
from aggregator.orders import step_of
from chassis.due import Due
from chassis.pages import Page
from chassis.service import Runtime
from chassis.web import Operator, Router, Work
from chassis.work import UnitOfWork
from contracts import order, product
from contracts.aggregator import RebuildView
from contracts.order import ExportedOrder
from contracts.product import ProductView

router, due = Router(), Due()
LEASE_SECONDS = 30  # how long after a crash another process goes on
TURN_SECONDS = 10  # how long one works before it renews the lease
PAGE_SIZE, DELETE_BATCH_SIZE = 100, 2_000
EXPORTS: dict[RebuildStage, tuple[Any, str, Any]] = {
    RebuildStage.PRODUCTS: (product.api, "/exports/products", Page[ProductView]),
    RebuildStage.ORDERS: (order.api, "/exports/orders", Page[ExportedOrder]),
}


@router.post("/rebuilds", status_code=202)
async def start_rebuild(work: Work, _: Operator) -> RebuildView:
    """Begin, unless one is under way."""
    await work.execute("LOCK TABLE rebuilds IN SHARE ROW EXCLUSIVE MODE")  # two may ask at once
    newest = await queries.newest_rebuild(work)
    if newest is not None and newest.stage != RebuildStage.DONE:
        return _view(newest)
    known = await work.lock(Generation, state=list(GenerationState))
    if not known:
        known = [work.add(Generation.new(id=FIRST_GENERATION, state=GenerationState.ACTIVE))]
    growing = work.add(Generation.new(id=max(it.id for it in known) + 1, state=GenerationState.BUILDING))
    return _view(work.add(Rebuild.new(generation=growing.id, started_at=work.now, due_at=work.now)))


@router.get("/rebuilds/current")
async def get_current_rebuild(work: Work, _: Operator) -> RebuildView:
    """The one under way, or the last."""
    newest = await queries.newest_rebuild(work)
    if newest is None:
        raise RebuildNotFound()
    return _view(newest)


async def copy_pages(rebuild: Rebuild, runtime: Runtime) -> None:
    """Some pages, each with its place in one transaction, so that nothing is done twice or left out after a crash."""
    until = time.monotonic() + TURN_SECONDS
    while rebuild.stage != RebuildStage.DONE and time.monotonic() < until and not runtime.stop.is_set():
        page = await _fetch_page(rebuild, runtime)
        async with runtime.database.work() as work:
            (row,) = await work.lock(Rebuild, generation=[rebuild.generation])
            if (row.stage, row.cursor) != (rebuild.stage, rebuild.cursor):
                return  # it was taken for dead, and another has gone on
            await STAGE_STEPS[row.stage](row, page, work)
        rebuild = row


@due(Rebuild.due_at, call=copy_pages, lease_seconds=LEASE_SECONDS)
def schedule_next_turn(rebuild: Rebuild, _: None, work: UnitOfWork) -> None:
    rebuild.due_at = None if rebuild.stage == RebuildStage.DONE else work.now


async def _fetch_page(rebuild: Rebuild, runtime: Runtime) -> Any:
    if rebuild.stage not in EXPORTS:
        return None
    api, path, into = EXPORTS[rebuild.stage]
    place = {"cursor": rebuild.cursor} if rebuild.cursor else {}
    return await runtime.client(api, as_service=True).get(path, params={**place, "limit": PAGE_SIZE}, into=into)


async def _copy_products(rebuild: Rebuild, page: Page[ProductView], work: UnitOfWork) -> None:
    await work.lock(ProductReadModel, id=[it.id for it in page.items])
    for it in page.items:
        upsert_product(rebuild.generation, it.id, it.model_dump(exclude={"id"}) | {"withdrawn": False}, work)
    rebuild.products += len(page.items)
    rebuild.cursor = page.next_cursor
    if rebuild.cursor is None:
        rebuild.stage = RebuildStage.ORDERS


async def _copy_orders(rebuild: Rebuild, page: Page[ExportedOrder], work: UnitOfWork) -> None:
    await work.lock(OrderReadModel, order_id=[it.order.order_id for it in page.items])
    for it in page.items:
        upsert_order(rebuild.generation, it.order, map(step_of, it.steps), work)
    rebuild.orders += len(page.items)
    rebuild.cursor = page.next_cursor
    if rebuild.cursor is None:
        await _activate_generation(rebuild, work)


async def _activate_generation(rebuild: Rebuild, work: UnitOfWork) -> None:
    """With the commit everybody sees the new generation, and all of it."""
    for it in await work.lock(Generation, state=list(GenerationState)):
        if it.id == rebuild.generation:
            it.state = GenerationState.ACTIVE
        else:
            work.remove(it)
    rebuild.stage = RebuildStage.OLD_PRODUCTS


async def _delete_old_products(rebuild: Rebuild, _: None, work: UnitOfWork) -> None:
    await _delete_old("products", "id", rebuild, work, following=RebuildStage.OLD_ORDERS)


async def _delete_old_orders(rebuild: Rebuild, _: None, work: UnitOfWork) -> None:
    await _delete_old("orders", "order_id", rebuild, work, following=RebuildStage.DONE)
    if rebuild.stage == RebuildStage.DONE:
        rebuild.done_at = work.now


async def _delete_old(table: str, key: str, rebuild: Rebuild, work: UnitOfWork, *, following: RebuildStage) -> None:
    """Rows of all generations that are gone, also those that a batch has left behind which began before a switch."""
    removed = await work.execute(queries.delete_old_rows(table, key), rebuild.cursor, DELETE_BATCH_SIZE)
    rebuild.removed += len(removed)
    rebuild.cursor = str(max(row[key] for row in removed)) if removed else None
    if not removed:
        rebuild.stage = following


STAGE_STEPS: dict[RebuildStage, Callable[[Rebuild, Any, UnitOfWork], Awaitable[None]]] = {
    RebuildStage.PRODUCTS: _copy_products,
    RebuildStage.ORDERS: _copy_orders,
    RebuildStage.OLD_PRODUCTS: _delete_old_products,
    RebuildStage.OLD_ORDERS: _delete_old_orders,
}


def _view(rebuild: Rebuild) -> RebuildView:
    return RebuildView.model_validate(rebuild, from_attributes=True)
