"""`make bench-messaging`: what a message costs from outbox to handler, on each broker, beside the same by hand."""
