"""What can go wrong when somebody asks about a shipment, or says something about one."""

from chassis.errors import Problem


class ShipmentNotFound(Problem):
    status, code, detail = 404, "shipment_not_found", "No shipment was ever asked for with this order."


class SignatureRefused(Problem):
    status, code, detail = 401, "signature_refused", "The webhook is not signed by the carrier, or is too old."
