"""What the product service serves over HTTP: its problems, and the operations that other services call."""

from chassis.errors import Problem
from chassis.web import InvalidCursor, Page
from contracts.product import ProductView, StockView, api


class ProductNotFound(Problem):
    """The product does not exist or is no longer sold. The client removes it from its list."""

    status, code, detail = 404, "product_not_found", "There is no product with this id."


class StockIsReserved(Problem):
    """The new number of pieces is below the number that is reserved for orders; `reserved` says how many.

    The client sets a larger number, or waits until the orders are committed or released.
    """

    status, code, detail = 409, "stock_is_reserved", "More pieces than that are reserved for orders."


list_products = api.get(
    "/products", Page[ProductView], query=("ids", "q", "category", "cursor", "limit"), raises=(InvalidCursor,)
)
get_product = api.get("/products/{product_id}", ProductView, raises=(ProductNotFound,))
export_products = api.get("/exports/products", Page[ProductView], query=("cursor", "limit"), raises=(InvalidCursor,))
list_stock = api.get("/stock", Page[StockView], query=("ids", "low", "cursor", "limit"), raises=(InvalidCursor,))
