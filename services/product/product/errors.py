"""The errors of the product service: problems for clients, and faults that stop a message."""

from chassis.errors import Problem


class ProductNotFound(Problem):
    """The product does not exist or is no longer sold. The client removes it from its list."""

    status, code, detail = 404, "product_not_found", "There is no product with this id."


class StockIsReserved(Problem):
    """The new number of pieces is below the number that is reserved for orders; `reserved` says how many.

    The client sets a larger number, or waits until the orders are committed or released.
    """

    status, code, detail = 409, "stock_is_reserved", "More pieces than that are reserved for orders."


class NothingReserved(Exception):
    """CommitStock for an order without a reservation. The message becomes a dead letter: an operator has to look."""


class ReturnExceedsCommitted(Exception):
    """RestockItems for more pieces than have left. The message becomes a dead letter: an operator has to look."""
