"""HTTP in: the cart, quotes and checkouts. The order service does it in the caller's name.

These routes have no transaction of their own. An Idempotency-Key is passed on to the service whose effect it guards.
"""

from uuid import UUID

from fastapi import APIRouter, Response

from aggregator.responses import IDEMPOTENT
from chassis.web import IDEMPOTENCY_KEY, Caller, IdempotencyKey, Runtime, raises, response_header
from contracts import order, order_api

router = APIRouter(prefix="/api/v1", tags=["Checkout"])


@router.get("/cart")
async def get_cart(runtime: Runtime, _: Caller) -> order.CartView:
    """Get the caller's cart

    Each line has the price that its product had when it was put into the cart. The total is without shipping, which a
    quote adds.
    """
    return await runtime.call(order_api.get_cart)


@router.put("/cart/lines/{product_id}", responses=raises(*order_api.put_cart_line.problems))
async def put_cart_line(product_id: UUID, body: order.PutCartLine, runtime: Runtime, _: Caller) -> order.CartView:
    """Put a product into the cart

    Sets the quantity and takes over the current price, also for a product that is in the cart already. A cart holds a
    limited number of different products (409 `cart_full`).
    """
    return await runtime.call(order_api.put_cart_line, product_id=product_id, body=body)


@router.delete("/cart/lines/{product_id}")
async def remove_cart_line(product_id: UUID, runtime: Runtime, _: Caller) -> order.CartView:
    """Remove a product from the cart

    The response is the cart that is left. A product that is not in the cart is no error.
    """
    return await runtime.call(order_api.delete_cart_line, product_id=product_id)


@router.post("/quotes", status_code=201, responses=raises(*order_api.request_quote.problems))
async def request_quote(body: order.RequestQuote, runtime: Runtime, _: Caller) -> order.QuoteView:
    """Request a quote for the cart

    The quote contains current prices and the shipping to one of the caller's addresses. Its prices hold for one order
    until `valid_until`: pass its `id` to the checkout.
    """
    return await runtime.call(order_api.request_quote, body=body)


@router.post(
    "/checkouts",
    status_code=202,
    responses=response_header("Location", "The order.", 202) | raises(*order_api.check_out_cart.problems, *IDEMPOTENT),
)
async def place_order(
    body: order.PlaceOrder, runtime: Runtime, _: Caller, key: IdempotencyKey, response: Response
) -> order.OrderView:
    """Check out: place an order for the cart

    The order is accepted, and the cart is empty. Goods and money are reserved next: follow the order's status, which
    becomes `confirmed` or `cancelled`.

    A client makes up an `Idempotency-Key`, such as a UUID, for each order that it places. It repeats the request with
    the same key when no response arrives: within 24 hours the first response is repeated, and no second order is
    placed.

    The current total has to be the one that the customer saw: `total_cents` of the request or, without it, the prices
    in the cart. Otherwise the checkout is refused with 409 `price_changed`, whose member `total_cents` is the current
    total; repeat the request with it to accept it. With `quote_id` the prices of the quote hold instead (409
    `quote_expired` when they do not any more). An empty cart is refused with 409 `cart_empty`.
    """
    placed = await runtime.call(order_api.check_out_cart, body=body, headers={IDEMPOTENCY_KEY: key})
    response.headers["location"] = f"/api/v1/orders/{placed.order_id}"
    return placed
