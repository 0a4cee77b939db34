"""HTTP in: what customers do about an order they have placed, done by the order service in their name."""

from uuid import UUID

from fastapi import APIRouter, Response

from aggregator.checkout import idempotent
from aggregator.responses import IDEMPOTENT, header
from chassis.web import Caller, IdempotencyKey, Runtime
from contracts import order

router = APIRouter(prefix="/api/v1", tags=["Orders"])
ORDER, REFUNDS = header("Location", "The order."), header("Location", "The refunds of the order.")


@router.post("/orders/{order_id}/cancellation", status_code=202, responses={202: ORDER})
async def cancel_order(order_id: UUID, runtime: Runtime, _: Caller, response: Response) -> order.OrderView:
    """Cancel an order

    Possible until its parcel leaves; after that the goods can be returned (409 `order_already_shipped`). The response
    says that the cancellation is requested. Follow the order's status: it becomes `cancelled`, or `shipped` when the
    request was too late. A repeated request has no effect.
    """
    response.headers["location"] = f"/api/v1/orders/{order_id}"
    return await runtime.client(order.api).call("POST", f"/orders/{order_id}/cancellation", into=order.OrderView)


@router.post("/orders/{order_id}/returns", status_code=201, responses=IDEMPOTENT | {201: REFUNDS})
async def return_goods(
    order_id: UUID, body: order.ReturnGoods, runtime: Runtime, _: Caller, key: IdempotencyKey, response: Response
) -> order.RefundView:
    """Announce that goods are sent back

    Possible for a limited time after delivery (409 `order_not_delivered`, `return_too_late`), and for no more than was
    bought (422 `return_exceeds_order`). The money follows when the goods have arrived: follow the refunds of the order.
    The `Idempotency-Key` works as at the checkout: a repeated request announces nothing twice.
    """
    response.headers["location"] = f"/api/v1/orders/{order_id}/refunds"
    call = idempotent(body, key)
    return await runtime.client(order.api).call("POST", f"/orders/{order_id}/returns", **call, into=order.RefundView)


@router.get("/orders/{order_id}/refunds")
async def list_refunds(order_id: UUID, runtime: Runtime, _: Caller) -> list[order.RefundView]:
    """List the refunds of an order

    One for each return that was announced, and one for a parcel that was lost.
    """
    return await runtime.client(order.api).get(f"/orders/{order_id}/refunds", into=list[order.RefundView])
