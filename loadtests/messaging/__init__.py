"""`make bench-messaging`: the cost of a message from outbox to handler, on each broker, with and without chassis."""
