"""The port to a message broker: publish with a key, subscribe as a group, order per key, acknowledge after a commit.

Each broker has an adapter. The port is what services need and what Kafka and Pulsar both do well.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from chassis.message import Envelope

RETENTION = timedelta(days=7)  # how long topics keep messages; an inbox remembers a day longer


class BrokerUnavailable(Exception):
    """The broker cannot be reached, or does not answer in time. A later try may succeed."""


class TopicMismatch(Exception):
    """A topic exists with another configuration than the contracts need. An operator has to change it."""


class GroupActive(Exception):
    """The group has members, so its position cannot be changed. Stop the members first."""


class StartPosition(StrEnum):
    """The position at which a new group begins to read."""

    BEGINNING = "beginning"  # with the oldest message that is kept
    NOW = "now"  # with the first message after it joined


class BrokerSubscription(Protocol):
    """A member of a group. Messages of one key arrive in order, at one member of the group at a time.

    `lost` is set when the messages received last go to another consumer: their handling has to stop and to be rolled
    back.
    """

    lost: asyncio.Event

    async def receive(self, limit: int) -> list[Envelope]:
        """Wait for messages and return up to `limit`. Call it again after `acknowledge`, or after `lost` was set."""

    async def acknowledge(self) -> None:
        """The messages received last are handled and are not delivered again."""

    async def close(self) -> None:
        """Leave the group. Messages that were received and not acknowledged go to other members."""


class Broker(Protocol):
    """Publishes messages and subscribes as a group. Every method raises BrokerUnavailable after some seconds."""

    async def ensure_topics(self, topics: Sequence[str]) -> None:
        """Create the topics that are missing. Raises TopicMismatch for a topic with another configuration."""

    async def publish(self, envelopes: Sequence[Envelope]) -> None:
        """Return when all messages are stored, in order per key. If it raises, some of them may be stored."""

    async def subscribe(
        self, topics: Sequence[str], group: str, start: StartPosition = StartPosition.BEGINNING
    ) -> BrokerSubscription:
        """Join the group. A new group begins at `start`, a known one behind the last acknowledged message."""

    async def lag(self, topics: Sequence[str], group: str) -> dict[str, int]:
        """The number of messages that the group has not acknowledged, by topic."""

    async def rewind(self, topics: Sequence[str], group: str, moment: datetime) -> None:
        """Set the group to the first message at or after `moment`. Raises GroupActive while it has members."""

    async def close(self) -> None: ...
