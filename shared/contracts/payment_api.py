"""What the payment service serves over HTTP: its problems."""

from chassis.errors import Problem


class PaymentNotFound(Problem):
    """No payment was requested for this order, or not yet. Check the order's id and its status."""

    status, code, detail = 404, "payment_not_found", "There is no payment for this order."
