"""The port to a message broker: what services need and Kafka and Pulsar both do well."""

from collections.abc import Sequence
from typing import Protocol

from chassis.messaging.message import Envelope


class BrokerUnavailable(Exception):
    """The broker did not take or give messages. It may do so later."""


class Subscription(Protocol):
    """One consumer of a group. Messages of one key come in order, to one consumer of the group at a time."""

    async def receive(self, limit: int) -> list[Envelope]:
        """Wait for messages and return up to `limit`. The next call comes after `acknowledge`."""

    async def acknowledge(self) -> None:
        """All that was received last is done with and shall not come again."""

    async def close(self) -> None:
        """Leave the group. What was received and not acknowledged goes to others."""


class Broker(Protocol):
    """Publishes, and subscribes as a group."""

    async def publish(self, envelopes: Sequence[Envelope]) -> None:
        """Return when all are stored, in order per key; otherwise raise BrokerUnavailable, and some may be stored."""

    async def subscribe(self, topics: Sequence[str], group: str) -> Subscription:
        """Join the group. A new group reads from the beginning."""

    async def close(self) -> None: ...
