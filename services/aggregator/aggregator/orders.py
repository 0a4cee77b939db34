"""HTTP in: orders from read models; their owner is asked for what has not been announced here yet."""

from typing import Annotated
from uuid import UUID

from fastapi import Query

from aggregator import queries
from aggregator.errors import OrderNotVisible
from aggregator.models import OrderReadModel
from chassis.auth import Token
from chassis.errors import Problem
from chassis.pages import Cursor, Limit, Page, page, position
from chassis.web import Caller, Router, Runtime, Work
from contracts import order as contract
from contracts.aggregator import OrderDetail, OrderStep
from contracts.order import OrderView, StepView

router = Router(prefix="/api/v1")
SeenVersion = Annotated[int, Query(ge=0, description="The highest version of the order that the client has seen")]


@router.get("/orders")
async def list_orders(work: Work, caller: Caller, cursor: Cursor = None, limit: Limit = 20) -> Page[OrderView]:
    """The caller's orders, the newest first."""
    (before,) = position(cursor, queries.NEWEST_ORDER)
    rows = await queries.orders_of_customer(work, caller.id, before, limit + 1)
    return page(rows, limit, order_view, lambda order: (order.order_id,))


@router.get("/orders/{order_id}")
async def get_order(
    order_id: UUID, work: Work, caller: Caller, runtime: Runtime, version: SeenVersion = 0
) -> OrderDetail:
    """One of the caller's orders, with all its moves."""
    seen = require_visible(await queries.order_or_none(work, order_id), caller)
    if seen is not None and seen.version >= version:
        return _detail(order_view(seen), order_steps(seen))
    client = runtime.client(contract.api)
    try:
        fresh = await client.get(f"/orders/{order_id}", into=OrderView)
        history = await client.get(f"/orders/{order_id}/history", into=list[StepView])
    except Problem as problem:
        if seen is None or problem.status < 500:
            raise
        return _detail(order_view(seen), order_steps(seen), "status")
    return _detail(fresh, [step_of(it) for it in history if it.version <= fresh.version])


def require_visible(seen: OrderReadModel | None, caller: Token) -> OrderReadModel | None:
    """Somebody else's order does not exist, except for staff."""
    if seen is not None and caller.subject != str(seen.customer_id) and not caller.roles & {"staff", "service"}:
        raise OrderNotVisible()
    return seen


def order_view(order: OrderReadModel) -> OrderView:
    return OrderView.model_validate(order, from_attributes=True)


def order_steps(order: OrderReadModel) -> list[OrderStep]:
    return [OrderStep.model_validate(step) for step in order.steps]


def step_of(it: StepView) -> OrderStep:
    """A step as its owner tells it, as one is shown."""
    return OrderStep(version=it.version, status=it.status, reason=it.reason, changed_at=it.at)


def _detail(order: OrderView, steps: list[OrderStep], *partial: str) -> OrderDetail:
    return OrderDetail(**order.model_dump(), steps=steps, partial=list(partial))
