"""HTTP in: cart, checkout and what a customer does about an order, done by order in the caller's name.

These routes have no transaction of their own. An Idempotency-Key goes on to the service whose effect it guards.
"""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response

from chassis.web import IDEMPOTENCY_KEY, Caller, IdempotencyKey, Runtime
from contracts import order
from contracts.order import (
    AskQuote,
    CartView,
    OrderView,
    PlaceOrder,
    PutCartLine,
    QuoteView,
    RefundView,
    ReturnGoods,
)

router = APIRouter(prefix="/api/v1")


@router.get("/cart")
async def get_cart(runtime: Runtime, _: Caller) -> CartView:
    return await runtime.client(order.api).get("/cart", into=CartView)


@router.put("/cart/lines/{product_id}")
async def put_cart_line(product_id: UUID, body: PutCartLine, runtime: Runtime, _: Caller) -> CartView:
    path = f"/cart/lines/{product_id}"
    return await runtime.client(order.api).call("PUT", path, json=body.model_dump(), into=CartView)


@router.delete("/cart/lines/{product_id}")
async def remove_cart_line(product_id: UUID, runtime: Runtime, _: Caller) -> CartView:
    return await runtime.client(order.api).call("DELETE", f"/cart/lines/{product_id}", into=CartView)


@router.post("/quotes", status_code=201)
async def request_quote(body: AskQuote, runtime: Runtime, _: Caller) -> QuoteView:
    """What the cart costs, and until when."""
    return await runtime.client(order.api).call("POST", "/quotes", json=body.model_dump(mode="json"), into=QuoteView)


@router.post("/checkouts", status_code=202)
async def place_order(
    body: PlaceOrder, runtime: Runtime, _: Caller, idempotency_key: IdempotencyKey, response: Response
) -> OrderView:
    """Make an order of the cart. Repeated with the same key, it is answered as the first time."""
    placed = await runtime.client(order.api).call(
        "POST", "/checkouts", **_idempotent(body.model_dump(mode="json"), idempotency_key), into=OrderView
    )
    response.headers["location"] = f"/api/v1/orders/{placed.order_id}"
    return placed


@router.post("/orders/{order_id}/cancellation", status_code=202)
async def cancel_order(order_id: UUID, runtime: Runtime, _: Caller) -> OrderView:
    """As long as the parcel has not left. Whether it was in time, the order's next moves say."""
    return await runtime.client(order.api).call("POST", f"/orders/{order_id}/cancellation", into=OrderView)


@router.post("/orders/{order_id}/returns", status_code=201)
async def return_goods(
    order_id: UUID, body: ReturnGoods, runtime: Runtime, _: Caller, idempotency_key: IdempotencyKey
) -> RefundView:
    """Announce that goods come back; the money follows when they are there."""
    return await runtime.client(order.api).call(
        "POST",
        f"/orders/{order_id}/returns",
        **_idempotent(body.model_dump(mode="json"), idempotency_key),
        into=RefundView,
    )


@router.get("/orders/{order_id}/refunds")
async def list_refunds(order_id: UUID, runtime: Runtime, _: Caller) -> list[RefundView]:
    return await runtime.client(order.api).get(f"/orders/{order_id}/refunds", into=list[RefundView])


def _idempotent(body: dict[str, Any], key: str) -> dict[str, Any]:
    return {"json": body, "headers": {IDEMPOTENCY_KEY: key}}
