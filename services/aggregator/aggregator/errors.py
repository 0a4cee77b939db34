"""Problems of the public API that the aggregator itself finds."""

from chassis.errors import Problem


class ProductNotListed(Problem):
    """The catalogue has no product with this id: it never existed, is withdrawn, or was added a moment ago.

    The client removes it from what it shows; after adding a product, it tries again in a second.
    """

    status, code, detail = 404, "product_not_found", "There is no product with this id."


class RebuildNotFound(Problem):
    """The read models have not been rebuilt yet, so there is no progress to show. The client starts a rebuild."""

    status, code, detail = 404, "rebuild_not_found", "The read models have not been rebuilt yet."


class OrderNotVisible(Problem):
    """There is no order with this id, or it is another customer's, which the answer does not reveal.

    The client checks the id and the account that it is signed in with.
    """

    status, code, detail = 404, "order_not_found", "There is no order with this id."
