"""The two ends of every message: the relay that publishes the outbox, and the consumer that applies the inbox once.

Services only declare subscriptions: which message, which handler, which rows. Messages that cannot be handled wait in
the dead letter queue, and the message log says what was sent and handled.
"""

from chassis.messaging.subscriptions import Subscriptions

__all__ = ["Subscriptions"]
