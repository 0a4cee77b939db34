"""The outside world: a payment provider and a carrier as one small HTTP program, strangers to the services."""
