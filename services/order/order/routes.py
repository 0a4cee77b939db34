"""HTTP in: orders, to look at, to cancel and to send back; and what staff does about those that are stuck."""

from uuid import UUID

from chassis.auth import Token
from chassis.pages import Cursor, Limit, Page, page, position
from chassis.web import Caller, IdempotencyKey, Router, ServiceCaller, Staff, Work
from contracts.order import (
    ExportedOrder,
    OrderView,
    RefundView,
    ResumeOrder,
    ReturnGoods,
    StepView,
    StuckOrderView,
)
from order import queries, refunds, saga
from order.errors import OrderNotFound
from order.models import Order, Step
from order.transitions import order_state

router = Router()


@router.get("/orders")
async def list_orders(work: Work, caller: Caller, cursor: Cursor = None, limit: Limit = 20) -> Page[OrderView]:
    (before,) = position(cursor, (queries.HIGHEST_ID,))
    found = await queries.orders_of_customer(work, caller.id, before, limit + 1)
    return page(found, limit, _order_view, lambda order: (order.id,))


@router.get("/orders/{order_id}")
async def get_order(order_id: UUID, work: Work, caller: Caller) -> OrderView:
    return _order_view(_check_visible(await queries.order_by_id(work, order_id), caller))


@router.get("/orders/{order_id}/history")
async def get_order_history(order_id: UUID, work: Work, caller: Caller) -> list[StepView]:
    _check_visible(await queries.order_by_id(work, order_id), caller)
    return [_step_view(it) for it in await queries.steps_of_order(work, order_id)]


@router.post("/orders/{order_id}/cancellation", status_code=202)
async def cancel_order(order_id: UUID, work: Work, caller: Caller) -> OrderView:
    """As long as the parcel has not left. Whether it was in time, shipping decides."""
    found = _check_visible(await _lock_order(order_id, work), caller)
    saga.cancel_order(found, work)
    return _order_view(found)


@router.get("/orders/{order_id}/refunds")
async def list_refunds(order_id: UUID, work: Work, caller: Caller) -> list[RefundView]:
    found = _check_visible(await queries.order_by_id(work, order_id), caller)
    return [refunds.refund_view(it) for it in found.refunds]


@router.post("/orders/{order_id}/returns", status_code=201)
async def return_goods(order_id: UUID, body: ReturnGoods, work: Work, caller: Caller, _: IdempotencyKey) -> RefundView:
    """Announce that goods come back; the money follows when they are here."""
    return refunds.announce_return(_check_visible(await _lock_order(order_id, work), caller), body.lines, work)


@router.post("/orders/{order_id}/returns/{refund_id}/receipt")
async def receive_goods(order_id: UUID, refund_id: UUID, work: Work, _: Staff) -> RefundView:
    """The goods are here: they are for sale again, and their money goes back."""
    return refunds.receive_return(await _lock_order(order_id, work), refund_id, work)


@router.get("/stuck-orders")
async def list_stuck_orders(work: Work, _: Staff, cursor: Cursor = None, limit: Limit = 20) -> Page[StuckOrderView]:
    """Orders that somebody has to look at, the oldest first."""
    (after,) = position(cursor, (queries.LOWEST_ID,))
    found = await queries.stuck_orders(work, after, limit + 1)
    return page(found, limit, _stuck_view, lambda order: (order.id,))


@router.post("/orders/{order_id}/resumption", status_code=202)
async def resume_order(order_id: UUID, body: ResumeOrder, work: Work, _: Staff) -> OrderView:
    """Ask again for what did not come, or write off the money that cannot be captured."""
    found = await _lock_order(order_id, work)
    saga.resume_order(found, work, body.write_off)
    return _order_view(found)


@router.get("/exports/orders")
async def export_orders(work: Work, _: ServiceCaller, cursor: Cursor = None, limit: Limit = 100) -> Page[ExportedOrder]:
    """Every order with its steps, by id, for read models that are built anew."""
    (after,) = position(cursor, (queries.LOWEST_ID,))
    found = await queries.orders_after(work, after, limit + 1)
    steps = await queries.steps_of_orders(work, [it.id for it in found])

    def exported(order: Order) -> ExportedOrder:
        return ExportedOrder(
            order=_order_view(order), steps=[_step_view(it) for it in steps if it.order_id == order.id]
        )

    return page(found, limit, exported, lambda order: (order.id,))


async def _lock_order(order_id: UUID, work: Work) -> Order:
    for found in await work.lock(Order, id=[order_id]):
        return found
    raise OrderNotFound()


def _check_visible(found: Order, caller: Token) -> Order:
    """Somebody else's order does not exist, except for staff."""
    if caller.subject != str(found.customer_id) and not caller.roles & {"staff", "service"}:
        raise OrderNotFound()
    return found


def _order_view(order: Order) -> OrderView:
    return OrderView.model_validate(order_state(order))


def _step_view(step: Step) -> StepView:
    return StepView.model_validate(step, from_attributes=True)


def _stuck_view(order: Order) -> StuckOrderView:
    return StuckOrderView.model_validate({**order.__dict__, "order_id": order.id})
