"""Routes of orders: list, cancel and return; for staff, receive returns and resume stuck orders."""

from uuid import UUID

from chassis.calls import Token
from chassis.web import (
    Caller,
    Cursor,
    IdempotencyKey,
    InvalidCursor,
    Limit,
    Page,
    Router,
    ServiceCaller,
    Staff,
    Work,
    decode_cursor,
    page,
    raises,
)
from contracts.order import (
    ExportedOrder,
    OrderView,
    RefundView,
    ResumeOrder,
    ReturnGoods,
    StepView,
    StuckOrderView,
)
from contracts.order_api import (
    NothingToWriteOff,
    OrderAlreadyShipped,
    OrderNotDelivered,
    OrderNotFound,
    OrderNotStuck,
    RefundNotFound,
    ReturnExceedsOrder,
    ReturnTooLate,
)
from order import queries, refunds, saga
from order.config import OrderSettings
from order.models import Order, Step
from order.transitions import order_state

router = Router(tags=["Orders"])


@router.get("/orders", responses=raises(InvalidCursor))
async def list_orders(
    work: Work[OrderSettings], caller: Caller, cursor: Cursor = None, limit: Limit = 20
) -> Page[OrderView]:
    """List the caller's orders

    The newest first.
    """
    (before,) = decode_cursor(cursor, (queries.HIGHEST_ID,))
    found = await queries.orders_of_customer(work, caller.id, before, limit + 1)
    return page(found, limit, _order_view, lambda order: (order.id,))


@router.get("/orders/{order_id}", responses=raises(OrderNotFound))
async def get_order(order_id: UUID, work: Work[OrderSettings], caller: Caller) -> OrderView:
    """Get an order

    A customer gets orders of their own only; staff and services get any order.
    """
    return _order_view(_check_visible(await queries.order_by_id(work, order_id), caller))


@router.get("/orders/{order_id}/history", responses=raises(OrderNotFound))
async def get_order_history(order_id: UUID, work: Work[OrderSettings], caller: Caller) -> list[StepView]:
    """Get the status changes of an order

    The oldest first, each with the event that caused it.
    """
    _check_visible(await queries.order_by_id(work, order_id), caller)
    return [_step_view(it) for it in await queries.steps_of_order(work, order_id)]


@router.post("/orders/{order_id}/cancellation", status_code=202, responses=raises(OrderNotFound, OrderAlreadyShipped))
async def cancel_order(order_id: UUID, work: Work[OrderSettings], caller: Caller) -> OrderView:
    """Cancel an order

    Possible as long as the parcel has not left. If the shipment is already requested, the order becomes `withdrawing`
    and shipping decides whether the cancellation came in time: follow the status. Repeating it changes nothing.
    """
    found = _check_visible(await work.lock_one(Order, OrderNotFound, id=order_id), caller)
    saga.cancel_order(found, work)
    return _order_view(found)


@router.get("/orders/{order_id}/refunds", responses=raises(OrderNotFound))
async def list_refunds(order_id: UUID, work: Work[OrderSettings], caller: Caller) -> list[RefundView]:
    """List the refunds of an order

    Announced returns are among them: they are refunded once the goods have arrived.
    """
    found = _check_visible(await queries.order_by_id(work, order_id), caller)
    return [refunds.refund_view(it) for it in found.refunds]


@router.post(
    "/orders/{order_id}/returns",
    status_code=201,
    responses=raises(OrderNotFound, OrderNotDelivered, ReturnTooLate, ReturnExceedsOrder),
)
async def return_goods(
    order_id: UUID, body: ReturnGoods, work: Work[OrderSettings], caller: Caller, _: IdempotencyKey
) -> RefundView:
    """Announce a return

    Creates a refund in the state `announced`. The money goes back when the goods have arrived; the return of the last
    goods refunds the shipping as well.
    """
    return refunds.announce_return(
        _check_visible(await work.lock_one(Order, OrderNotFound, id=order_id), caller), body.lines, work
    )


@router.post("/orders/{order_id}/returns/{refund_id}/receipt", responses=raises(OrderNotFound, RefundNotFound))
async def receive_goods(order_id: UUID, refund_id: UUID, work: Work[OrderSettings], _: Staff) -> RefundView:
    """Confirm that returned goods have arrived

    For staff. The goods are restocked, and their refund is requested once the payment is captured. Repeating it
    changes nothing.
    """
    return refunds.receive_return(await work.lock_one(Order, OrderNotFound, id=order_id), refund_id, work)


@router.get("/stuck-orders", responses=raises(InvalidCursor))
async def list_stuck_orders(
    work: Work[OrderSettings], _: Staff, cursor: Cursor = None, limit: Limit = 20
) -> Page[StuckOrderView]:
    """List orders that need attention

    For staff, the oldest first. `attention` says why; resume the order once the cause is removed.
    """
    (after,) = decode_cursor(cursor, (queries.LOWEST_ID,))
    found = await queries.stuck_orders(work, after, limit + 1)
    return page(found, limit, _stuck_view, lambda order: (order.id,))


@router.post(
    "/orders/{order_id}/resumption",
    status_code=202,
    responses=raises(OrderNotFound, OrderNotStuck, NothingToWriteOff),
)
async def resume_order(order_id: UUID, body: ResumeOrder, work: Work[OrderSettings], _: Staff) -> OrderView:
    """Resume an order that needs attention

    For staff. The commands that were refused or not answered are sent again. With `write_off`, money that could not
    be captured is given up instead.
    """
    found = await work.lock_one(Order, OrderNotFound, id=order_id)
    saga.resume_order(found, work, body.write_off)
    return _order_view(found)


@router.get("/exports/orders", responses=raises(InvalidCursor))
async def export_orders(
    work: Work[OrderSettings], _: ServiceCaller, cursor: Cursor = None, limit: Limit = 100
) -> Page[ExportedOrder]:
    """Export orders with their status changes

    For services that rebuild a read model: every order, by id.
    """
    (after,) = decode_cursor(cursor, (queries.LOWEST_ID,))
    found = await queries.orders_after(work, after, limit + 1)
    steps = await queries.steps_of_orders(work, [it.id for it in found])

    def exported(order: Order) -> ExportedOrder:
        return ExportedOrder(
            order=_order_view(order), steps=[_step_view(it) for it in steps if it.order_id == order.id]
        )

    return page(found, limit, exported, lambda order: (order.id,))


def _check_visible(found: Order, caller: Token) -> Order:
    """Hide the order from other customers: for them, it does not exist. Staff and services see every order."""
    if caller.subject != str(found.customer_id) and not caller.roles & {"staff", "service"}:
        raise OrderNotFound()
    return found


def _order_view(order: Order) -> OrderView:
    return OrderView.model_validate(order_state(order))


def _step_view(step: Step) -> StepView:
    return StepView.model_validate(step, from_attributes=True)


def _stuck_view(order: Order) -> StuckOrderView:
    return StuckOrderView.model_validate({**order.__dict__, "order_id": order.id})
