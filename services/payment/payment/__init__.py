"""Payment: money held, taken and given back through a payment provider."""
