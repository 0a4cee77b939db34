"""HTTP in: what customers do about an order they have placed, done by the order service in their name."""

from uuid import UUID

from fastapi import APIRouter, Response

from aggregator.responses import IDEMPOTENT
from chassis.web import IDEMPOTENCY_KEY, Caller, IdempotencyKey, Runtime, raises, response_header
from contracts import order, order_api

router = APIRouter(prefix="/api/v1", tags=["Orders"])


@router.post(
    "/orders/{order_id}/cancellation",
    status_code=202,
    responses=response_header("Location", "The order.", 202) | raises(*order_api.cancel_order.problems),
)
async def cancel_order(order_id: UUID, runtime: Runtime, _: Caller, response: Response) -> order.OrderView:
    """Cancel an order

    Possible until its parcel leaves; after that the goods can be returned (409 `order_already_shipped`). The response
    says that the cancellation is requested. Follow the order's status: it becomes `cancelled`, or `shipped` when the
    request was too late. A repeated request has no effect.
    """
    response.headers["location"] = f"/api/v1/orders/{order_id}"
    return await runtime.call(order_api.cancel_order, order_id=order_id)


@router.post(
    "/orders/{order_id}/returns",
    status_code=201,
    responses=response_header("Location", "The refunds of the order.", 201)
    | raises(*order_api.return_goods.problems, *IDEMPOTENT),
)
async def return_goods(
    order_id: UUID, body: order.ReturnGoods, runtime: Runtime, _: Caller, key: IdempotencyKey, response: Response
) -> order.RefundView:
    """Announce that goods are sent back

    Possible for a limited time after delivery (409 `order_not_delivered`, `return_too_late`), and for no more than was
    bought (422 `return_exceeds_order`). The money follows when the goods have arrived: follow the refunds of the order.
    The `Idempotency-Key` works as at the checkout: a repeated request announces nothing twice.
    """
    response.headers["location"] = f"/api/v1/orders/{order_id}/refunds"
    headers = {IDEMPOTENCY_KEY: key}
    return await runtime.call(order_api.return_goods, order_id=order_id, body=body, headers=headers)


@router.get("/orders/{order_id}/refunds", responses=raises(*order_api.list_refunds.problems))
async def list_refunds(order_id: UUID, runtime: Runtime, _: Caller) -> list[order.RefundView]:
    """List the refunds of an order

    One for each return that was announced, and one for a parcel that was lost.
    """
    return await runtime.call(order_api.list_refunds, order_id=order_id)
