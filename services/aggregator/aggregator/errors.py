"""What can go wrong at the entrances of the aggregator itself."""

from chassis.errors import Problem


class ProductNotListed(Problem):
    status, code, detail = 404, "product_not_found", "There is no such product."


class RebuildNotFound(Problem):
    status, code, detail = 404, "rebuild_not_found", "The read models have never been built anew."


class OrderNotVisible(Problem):
    status, code, detail = 404, "order_not_found", "There is no such order."
