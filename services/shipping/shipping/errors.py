"""What can go wrong when somebody asks about a shipment."""

from chassis.errors import Problem


class ShipmentNotFound(Problem):
    status, code, detail = 404, "shipment_not_found", "No shipment was ever asked for with this order."
