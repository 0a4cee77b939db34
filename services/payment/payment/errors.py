"""What can go wrong when somebody asks about a payment."""

from chassis.errors import Problem


class PaymentNotFound(Problem):
    status, code, detail = 404, "payment_not_found", "No payment was ever asked for with this order."
