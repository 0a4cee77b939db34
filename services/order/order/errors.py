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
