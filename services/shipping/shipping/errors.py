"""The problems that shipping's routes raise."""

from chassis.errors import Problem


class ShipmentNotFound(Problem):
    """No shipment was requested for this order, or not yet. Check the order's id and its status."""

    status, code, detail = 404, "shipment_not_found", "There is no shipment for this order."
