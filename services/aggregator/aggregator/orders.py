"""HTTP in: the orders of customers.

They come from the read models, and from the order service while its newest event has not arrived here.
"""

from typing import Annotated
from uuid import UUID

from fastapi import Query

from aggregator import queries
from aggregator.models import OrderReadModel
from chassis.calls import Token
from chassis.errors import Problem
from chassis.web import Caller, Cursor, InvalidCursor, Limit, Page, Router, Runtime, Work, decode_cursor, page, raises
from contracts import order as contract
from contracts import order_api
from contracts.aggregator import OrderDetail, OrderStep
from contracts.order_api import OrderNotFound

router = Router(prefix="/api/v1", tags=["Orders"])
SeenVersion = Annotated[int, Query(ge=0, description="The highest version that the client has seen of the order.")]


@router.get("/orders", responses=raises(InvalidCursor))
async def list_orders(work: Work, caller: Caller, cursor: Cursor = None, limit: Limit = 20) -> Page[contract.OrderView]:
    """List the caller's orders

    The newest order comes first. The list follows the events of orders: an order that was placed a moment ago may
    appear a moment later, while it can be read by its id at once.
    """
    (before,) = decode_cursor(cursor, queries.NEWEST_ORDER)
    rows = await queries.orders_of_customer(work, caller.id, before, limit + 1)
    return page(rows, limit, order_view, lambda order: (order.order_id,))


@router.get("/orders/{order_id}", responses=raises(OrderNotFound))
async def get_order(
    order_id: UUID, work: Work, caller: Caller, runtime: Runtime, version: SeenVersion = 0
) -> OrderDetail:
    """Get an order with its steps

    Customers get their own orders, staff gets every order. An order is visible as soon as the checkout was answered.

    Pass the highest version that the client has seen, so that an order never seems to go back. If no version as new as
    that can be found, the older one is returned, and `partial` contains `status`.
    """
    known = require_visible(await queries.order_or_none(work, order_id), caller)
    if known is not None and known.version >= version:
        return _detail(order_view(known), order_steps(known))
    try:
        current = await runtime.call(order_api.get_order, order_id=order_id)
        history = await runtime.call(order_api.get_order_history, order_id=order_id)
    except Problem as problem:
        if known is None or problem.status < 500:
            raise
        return _detail(order_view(known), order_steps(known), "status")
    return _detail(current, [step_from_owner(it) for it in history if it.version <= current.version])


def require_visible(known: OrderReadModel | None, caller: Token) -> OrderReadModel | None:
    """The order, unless it is another customer's. None stays None: the order may be too new to be known here."""
    if known is not None and caller.subject != str(known.customer_id) and not caller.roles & {"staff", "service"}:
        raise OrderNotFound()
    return known


def order_view(order: OrderReadModel) -> contract.OrderView:
    return contract.OrderView.model_validate(order, from_attributes=True)


def order_steps(order: OrderReadModel) -> list[OrderStep]:
    return [OrderStep.model_validate(step) for step in order.steps]


def step_from_owner(it: contract.StepView) -> OrderStep:
    """A step of the order service in the form of the public API."""
    return OrderStep(version=it.version, status=it.status, reason=it.reason, changed_at=it.at)


def _detail(order: contract.OrderView, steps: list[OrderStep], *partial: str) -> OrderDetail:
    return OrderDetail(**order.model_dump(), steps=steps, partial=list(partial))
