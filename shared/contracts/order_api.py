"""What the order service serves over HTTP: its problems, and the operations that other services call."""

from chassis.errors import Problem
from chassis.web import InvalidCursor, Page
from contracts.order import (
    CartView,
    ExportedOrder,
    OrderView,
    PlaceOrder,
    PutCartLine,
    QuoteView,
    RefundView,
    RequestQuote,
    ReturnGoods,
    StepView,
    api,
)
from contracts.product_api import ProductNotFound


class OrderNotFound(Problem):
    """The id is unknown, or the order belongs to another customer. Check the id."""

    status, code, detail = 404, "order_not_found", "There is no order with this id."


class UnknownAddress(Problem):
    """The body names an address that is not in the caller's account. Choose one that is."""

    status, code, detail = 422, "unknown_address", "There is no address with this id in your account."


class CartEmpty(Problem):
    """A quote or a checkout was requested for an empty cart. Put a product into the cart first."""

    status, code, detail = 409, "cart_empty", "The cart is empty."


class CartFull(Problem):
    """The cart already holds the most lines that it can. Check out, or remove a line."""

    status, code, detail = 409, "cart_full", "A cart holds at most 50 different products."


class PriceChanged(Problem):
    """The total differs from what the customer saw. Show `total_cents`, and send it with the next checkout."""

    status, code, detail = 409, "price_changed", "Prices have changed since the products were put into the cart."


class QuoteExpired(Problem):
    """The quote is unknown, used, expired or another customer's. Request a new one."""

    status, code, detail = 409, "quote_expired", "The quote is no longer valid."


class QuoteDoesNotFit(Problem):
    """The cart or the address has changed since the quote. Request a new one."""

    status, code, detail = 409, "quote_does_not_fit", "The quote is for another cart or another address."


class OrderAlreadyShipped(Problem):
    """A cancellation came after the parcel had left. Return the goods once they have arrived."""

    status, code, detail = 409, "order_already_shipped", "The parcel has left; the goods can be returned."


class OrderNotDelivered(Problem):
    """A return was announced for an order that is not delivered. Wait for the parcel, or cancel the order."""

    status, code, detail = 409, "order_not_delivered", "Goods can be returned once they have arrived."


class ReturnTooLate(Problem):
    """A return was announced after the time for returns. There is nothing that the client can do."""

    status, code, detail = 409, "return_too_late", "The time for returns is over."


class ReturnExceedsOrder(Problem):
    """A line names more than was bought less what was returned before. List the refunds, and send less."""

    status, code, detail = 422, "return_exceeds_order", "More goods than were bought and not returned yet."


class RefundNotFound(Problem):
    """The order has no refund with this id. List the refunds of the order."""

    status, code, detail = 404, "refund_not_found", "The order has no refund with this id."


class OrderNotStuck(Problem):
    """An order was resumed that does not need attention, perhaps because it was resumed before. Do nothing."""

    status, code, detail = 409, "order_not_stuck", "The order does not need attention."


class NothingToWriteOff(Problem):
    """`write_off` was set for an order whose capture was not refused. Resume the order without it."""

    status, code, detail = 409, "nothing_to_write_off", "Only money that could not be captured can be written off."


get_cart = api.get("/cart", CartView)
put_cart_line = api.put("/cart/lines/{product_id}", CartView, body=PutCartLine, raises=(ProductNotFound, CartFull))
delete_cart_line = api.delete("/cart/lines/{product_id}", CartView)
request_quote = api.post("/quotes", QuoteView, body=RequestQuote, raises=(CartEmpty, ProductNotFound, UnknownAddress))
check_out_cart = api.post(
    "/checkouts",
    OrderView,
    body=PlaceOrder,
    raises=(CartEmpty, PriceChanged, QuoteExpired, QuoteDoesNotFit, ProductNotFound, UnknownAddress),
)
get_order = api.get("/orders/{order_id}", OrderView, raises=(OrderNotFound,))
get_order_history = api.get("/orders/{order_id}/history", list[StepView], raises=(OrderNotFound,))
cancel_order = api.post("/orders/{order_id}/cancellation", OrderView, raises=(OrderNotFound, OrderAlreadyShipped))
list_refunds = api.get("/orders/{order_id}/refunds", list[RefundView], raises=(OrderNotFound,))
return_goods = api.post(
    "/orders/{order_id}/returns",
    RefundView,
    body=ReturnGoods,
    raises=(OrderNotFound, OrderNotDelivered, ReturnTooLate, ReturnExceedsOrder),
)
export_orders = api.get("/exports/orders", Page[ExportedOrder], query=("cursor", "limit"), raises=(InvalidCursor,))
