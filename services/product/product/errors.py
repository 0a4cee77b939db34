"""What can go wrong at the entrances of product."""

from chassis.errors import Problem


class ProductNotFound(Problem):
    status, code, detail = 404, "product_not_found", "There is no such product."


class StockIsReserved(Problem):
    status, code, detail = 409, "stock_is_reserved", "More pieces than that are reserved for orders."


class NothingReserved(Exception):
    """Goods have left that were never held for the order: somebody has to look, so the message is parked."""


class ReturnExceedsCommitted(Exception):
    """Goods came back that had not left, or more than had: somebody has to look, so the message is parked."""
