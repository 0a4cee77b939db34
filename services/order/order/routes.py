"""HTTP in: orders, to look at, to cancel and to send back; and what staff does about those that are stuck."""

from uuid import UUID

from chassis.calls import Token
from chassis.web import (
    Caller,
    Cursor,
    IdempotencyKey,
    Limit,
    Page,
    Router,
    ServiceCaller,
    Staff,
    Work,
    decode_cursor,
    page,
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
from order import queries, refunds, saga
from order.errors import OrderNotFound
from order.models import Order, Step
from order.moves import state

router = Router()


@router.get("/orders")
async def orders(work: Work, caller: Caller, cursor: Cursor = None, limit: Limit = 20) -> Page[OrderView]:
    (before,) = decode_cursor(cursor, (queries.NEWEST,))
    found = await queries.orders_of(work, caller.id, before, limit + 1)
    return page(found, limit, _view, lambda order: (order.id,))


@router.get("/orders/{order_id}")
async def order(order_id: UUID, work: Work, caller: Caller) -> OrderView:
    return _view(_visible(await queries.order_by_id(work, order_id), caller))


@router.get("/orders/{order_id}/history")
async def history(order_id: UUID, work: Work, caller: Caller) -> list[StepView]:
    _visible(await queries.order_by_id(work, order_id), caller)
    return [_step(it) for it in await queries.steps_of(work, order_id)]


@router.post("/orders/{order_id}/cancellation", status_code=202)
async def cancel(order_id: UUID, work: Work, caller: Caller) -> OrderView:
    """As long as the parcel has not left. Whether it was in time, shipping decides."""
    found = _visible(await _locked(order_id, work), caller)
    saga.cancel(found, work)
    return _view(found)


@router.get("/orders/{order_id}/refunds")
async def refunds_of(order_id: UUID, work: Work, caller: Caller) -> list[RefundView]:
    found = _visible(await queries.order_by_id(work, order_id), caller)
    return [refunds.view(it) for it in found.refunds]


@router.post("/orders/{order_id}/returns", status_code=201)
async def return_goods(order_id: UUID, body: ReturnGoods, work: Work, caller: Caller, _: IdempotencyKey) -> RefundView:
    """Announce that goods come back; the money follows when they are here."""
    return refunds.announce(_visible(await _locked(order_id, work), caller), body.lines, work)


@router.post("/orders/{order_id}/returns/{refund_id}/receipt")
async def receive_goods(order_id: UUID, refund_id: UUID, work: Work, _: Staff) -> RefundView:
    """The goods are here: they are for sale again, and their money goes back."""
    return refunds.receive(await _locked(order_id, work), refund_id, work)


@router.get("/stuck-orders")
async def stuck_orders(work: Work, _: Staff, cursor: Cursor = None, limit: Limit = 20) -> Page[StuckOrderView]:
    """Orders that somebody has to look at, the oldest first."""
    (after,) = decode_cursor(cursor, (queries.OLDEST,))
    found = await queries.stuck_orders(work, after, limit + 1)
    return page(found, limit, _stuck, lambda order: (order.id,))


@router.post("/orders/{order_id}/resumption", status_code=202)
async def resume(order_id: UUID, body: ResumeOrder, work: Work, _: Staff) -> OrderView:
    """Ask again for what did not come, or write off the money that cannot be captured."""
    found = await _locked(order_id, work)
    saga.resume(found, work, body.write_off)
    return _view(found)


@router.get("/exports/orders")
async def export(work: Work, _: ServiceCaller, cursor: Cursor = None, limit: Limit = 100) -> Page[ExportedOrder]:
    """Every order with its steps, by id, for read models that are built anew."""
    (after,) = decode_cursor(cursor, (queries.OLDEST,))
    found = await queries.orders_after(work, after, limit + 1)
    steps = await queries.steps_of_orders(work, [it.id for it in found])
    return page(
        found,
        limit,
        lambda it: ExportedOrder(order=_view(it), steps=[_step(one) for one in steps if one.order_id == it.id]),
        lambda it: (it.id,),
    )


async def _locked(order_id: UUID, work: Work) -> Order:
    for found in await work.lock(Order, id=[order_id]):
        return found
    raise OrderNotFound()


def _visible(found: Order, caller: Token) -> Order:
    """Somebody else's order does not exist, except for staff."""
    if caller.subject != str(found.customer_id) and not caller.roles & {"staff", "service"}:
        raise OrderNotFound()
    return found


def _view(order: Order) -> OrderView:
    return OrderView.model_validate(state(order))


def _step(step: Step) -> StepView:
    return StepView.model_validate(step, from_attributes=True)


def _stuck(order: Order) -> StuckOrderView:
    return StuckOrderView.model_validate({**order.__dict__, "order_id": order.id})
