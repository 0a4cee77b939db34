"""What the shipping service serves over HTTP: its problems, and the operations that other services call."""

from chassis.errors import Problem
from contracts.shipping import RatesView, api


class ShipmentNotFound(Problem):
    """No shipment was requested for this order, or not yet. Check the order's id and its status."""

    status, code, detail = 404, "shipment_not_found", "There is no shipment for this order."


get_rates = api.get("/rates", RatesView)
