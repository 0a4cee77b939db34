"""Rebuilding the read models: a second generation is filled from the owners' exports and from events, then activated.

Meanwhile events are written into both generations; of an export and an event the higher version stays. Nothing is
missed: exports are read after the generation exists, so they contain what was published before, and later events are
written into the generation.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Response

from aggregator import queries
from aggregator.errors import RebuildNotFound
from aggregator.handlers import add_first_generation, upsert_order, upsert_product
from aggregator.models import Generation, GenerationState, OrderReadModel, ProductReadModel, Rebuild, RebuildStage
from aggregator.orders import step_from_owner
from chassis.calls import Operation
from chassis.database import UnitOfWork
from chassis.jobs import Deadlines
from chassis.service import Runtime
from chassis.web import Operator, Page, Router, Work, raises, response_header
from contracts import order, order_api, product, product_api
from contracts.aggregator import RebuildView

router, deadlines = Router(tags=["Rebuilds"]), Deadlines()
LEASE_SECONDS = 30  # how long after a crash another process continues
TURN_SECONDS = 10  # how long a process copies before it renews the lease
PAGE_SIZE, DELETE_BATCH_SIZE = 100, 2_000


@router.post("/rebuilds", status_code=202, responses=response_header("Location", "The progress of the rebuild.", 202))
async def start_rebuild(work: Work, _: Operator, response: Response) -> RebuildView:
    """Start a rebuild of the read models

    For operators. While a rebuild is running, no second one starts: the response is the running one.
    """
    response.headers["location"] = "rebuilds/current"  # relative: the gateway puts a prefix before the path
    await work.execute("LOCK TABLE rebuilds IN SHARE ROW EXCLUSIVE MODE")  # two requests may arrive at once
    newest = await queries.newest_rebuild(work)
    if newest is not None and newest.stage != RebuildStage.DONE:
        return _view(newest)
    known = await work.lock(Generation, state=list(GenerationState)) or [add_first_generation(work)]
    building = work.add(Generation.new(id=max(it.id for it in known) + 1, state=GenerationState.BUILDING))
    return _view(work.add(Rebuild.new(generation=building.id, started_at=work.now, due_at=work.now)))


@router.get("/rebuilds/current", responses=raises(RebuildNotFound))
async def get_current_rebuild(work: Work, _: Operator) -> RebuildView:
    """Get the progress of the rebuild

    Of the running one, or of the last one. For operators.
    """
    newest = await queries.newest_rebuild(work)
    if newest is None:
        raise RebuildNotFound()
    return _view(newest)


async def continue_rebuild(rebuild: Rebuild, runtime: Runtime) -> None:
    """Work on the rebuild for a while: copy pages of the exports, then delete old rows.

    Each page is written together with the progress, in one transaction, so that a crash neither repeats nor loses one.
    """
    stop_at = time.monotonic() + TURN_SECONDS
    while rebuild.stage != RebuildStage.DONE and time.monotonic() < stop_at and not runtime.stop.is_set():
        page = await _fetch_page(rebuild, runtime) if rebuild.stage in EXPORTS else None
        async with runtime.database.work() as work:
            (row,) = await work.lock(Rebuild, generation=[rebuild.generation])
            if (row.stage, row.cursor) != (rebuild.stage, rebuild.cursor):
                return  # the lease of this process has ended, and another one has continued
            if row.stage in EXPORTS:
                await EXPORTS[row.stage][-1](row, page, work)
            else:
                await _delete_old(row, work)
        rebuild = row


@deadlines(Rebuild.due_at, call=continue_rebuild, lease_seconds=LEASE_SECONDS)
def schedule_next_turn(rebuild: Rebuild, _: None, work: UnitOfWork) -> None:
    rebuild.due_at = None if rebuild.stage == RebuildStage.DONE else work.now


async def _fetch_page(rebuild: Rebuild, runtime: Runtime) -> Any:
    export, _ = EXPORTS[rebuild.stage]
    position = {"cursor": rebuild.cursor} if rebuild.cursor else {}
    return await runtime.call(export, as_service=True, query={**position, "limit": PAGE_SIZE})


async def _copy_products(rebuild: Rebuild, page: Page[product.ProductView], work: UnitOfWork) -> None:
    await work.lock(ProductReadModel, id=[it.id for it in page.items])
    for it in page.items:
        upsert_product(rebuild.generation, it.id, it.model_dump(exclude={"id"}) | {"withdrawn": False}, work)
    rebuild.products += len(page.items)
    _proceed(rebuild, page.next_cursor, RebuildStage.ORDERS)


async def _copy_orders(rebuild: Rebuild, page: Page[order.ExportedOrder], work: UnitOfWork) -> None:
    await work.lock(OrderReadModel, order_id=[it.order.order_id for it in page.items])
    for it in page.items:
        upsert_order(rebuild.generation, it.order, map(step_from_owner, it.steps), work)
    rebuild.orders += len(page.items)
    _proceed(rebuild, page.next_cursor, RebuildStage.OLD_PRODUCTS)
    if rebuild.stage == RebuildStage.OLD_PRODUCTS:
        await _activate_generation(rebuild, work)


async def _activate_generation(rebuild: Rebuild, work: UnitOfWork) -> None:
    """From the commit on, every query reads the new generation, and the old one no longer exists."""
    for it in await work.lock(Generation, state=list(GenerationState)):
        if it.id == rebuild.generation:
            it.state = GenerationState.ACTIVE
        else:
            work.remove(it)


async def _delete_old(rebuild: Rebuild, work: UnitOfWork) -> None:
    """Delete rows of generations that no longer exist, also what a batch wrote that began before the activation."""
    table, key, following = OLD_ROWS[rebuild.stage]
    removed = await work.execute(queries.delete_old_rows(table, key), rebuild.cursor, DELETE_BATCH_SIZE)
    rebuild.removed += len(removed)
    _proceed(rebuild, str(max(row[key] for row in removed)) if removed else None, following)
    if rebuild.stage == RebuildStage.DONE:
        rebuild.completed_at = work.now


def _proceed(rebuild: Rebuild, cursor: str | None, following: RebuildStage) -> None:
    """Go on behind the cursor or, where there is none, with the following stage."""
    rebuild.cursor = cursor
    if cursor is None:
        rebuild.stage = following


OLD_ROWS = {
    RebuildStage.OLD_PRODUCTS: ("products", "id", RebuildStage.OLD_ORDERS),
    RebuildStage.OLD_ORDERS: ("orders", "order_id", RebuildStage.DONE),
}
# What a stage reads from an owner, and what it does with a page of that.
EXPORTS: dict[RebuildStage, tuple[Operation[Any], Callable[..., Awaitable[None]]]] = {
    RebuildStage.PRODUCTS: (product_api.export_products, _copy_products),
    RebuildStage.ORDERS: (order_api.export_orders, _copy_orders),
}


def _view(rebuild: Rebuild) -> RebuildView:
    return RebuildView.model_validate(rebuild, from_attributes=True)
