"""What can go wrong at the entrances of order."""

from chassis.errors import Problem


class OrderNotFound(Problem):
    status, code, detail = 404, "order_not_found", "There is no such order."


class ProductNotFound(Problem):
    status, code, detail = 404, "product_not_found", "There is no such product."


class AddressNotFound(Problem):
    status, code, detail = 422, "address_not_found", "There is no such address in your account."


class CartEmpty(Problem):
    status, code, detail = 409, "cart_empty", "There is nothing in the cart."


class CartFull(Problem):
    status, code, detail = 409, "cart_full", "A cart holds at most 50 different products."


class PriceChanged(Problem):
    status, code, detail = 409, "price_changed", "Prices have changed since the products were put into the cart."


class QuoteExpired(Problem):
    status, code, detail = 409, "quote_expired", "The quote is not valid any more, or never was."


class QuoteDoesNotFit(Problem):
    status, code, detail = 409, "quote_does_not_fit", "The quote is for another cart or another address."


class OrderAlreadyShipped(Problem):
    status, code, detail = 409, "order_already_shipped", "The parcel has left: the goods can be returned."


class OrderNotDelivered(Problem):
    status, code, detail = 409, "order_not_delivered", "Goods can be returned once they have arrived."


class ReturnTooLate(Problem):
    status, code, detail = 409, "return_too_late", "The time in which goods can be returned is over."


class ReturnExceedsOrder(Problem):
    status, code, detail = 422, "return_exceeds_order", "More than what was bought and is not on its way back."


class RefundNotFound(Problem):
    status, code, detail = 404, "refund_not_found", "This order has no such refund."


class OrderNotStuck(Problem):
    status, code, detail = 409, "order_not_stuck", "This order does not wait for anybody."


class NothingToWriteOff(Problem):
    status, code, detail = 409, "nothing_to_write_off", "Only money that could not be captured is written off."
