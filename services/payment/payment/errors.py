"""What can go wrong when somebody asks about a payment, or tells us of one."""

from chassis.errors import Problem


class PaymentNotFound(Problem):
    status, code, detail = 404, "payment_not_found", "No payment was ever asked for with this order."


class SignatureRefused(Problem):
    status, code, detail = 401, "signature_refused", "The webhook is not signed by the payment provider, or too old."
