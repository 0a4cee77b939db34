"""The port to a message broker: what services need and Kafka and Pulsar both do well."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from chassis.message import Envelope

RETENTION = timedelta(days=7)  # how long topics keep messages; an inbox remembers a day longer


class BrokerUnavailable(Exception):
    """The broker did not take or give messages. It may do so later."""


class TopicMismatch(Exception):
    """A topic is there, and is not as the contracts want it. It takes an operator to mend that."""


class GroupActive(Exception):
    """The group has members, so it cannot be set back: stop them first."""


class StartPosition(StrEnum):
    """Where a group begins that was never here before."""

    BEGINNING = "beginning"  # with the oldest message that is kept
    NOW = "now"  # with the first message after it joined


class BrokerSubscription(Protocol):
    """One consumer of a group. Messages of one key come in order, to one consumer of the group at a time.

    `lost` is set when what was received last goes to another consumer: work on it has to stop and to be undone.
    """

    lost: asyncio.Event

    async def receive(self, limit: int) -> list[Envelope]:
        """Wait for messages and return up to `limit`. The next call comes after `acknowledge`, or after `lost`."""

    async def acknowledge(self) -> None:
        """All that was received last is done with and shall not come again."""

    async def close(self) -> None:
        """Leave the group. What was received and not acknowledged goes to others."""


class Broker(Protocol):
    """Publishes, and subscribes as a group. Whatever asks the broker raises BrokerUnavailable after some seconds."""

    async def ensure_topics(self, topics: Sequence[str]) -> None:
        """Make the topics that are missing, and raise TopicDiffers for one that is not as it should be."""

    async def publish(self, envelopes: Sequence[Envelope]) -> None:
        """Return when all are stored, in order per key; otherwise raise BrokerUnavailable, and some may be stored."""

    async def subscribe(
        self, topics: Sequence[str], group: str, start: StartPosition = StartPosition.BEGINNING
    ) -> BrokerSubscription:
        """Join the group. One that is new begins at `start`, any other where it has acknowledged."""

    async def lag(self, topics: Sequence[str], group: str) -> dict[str, int]:
        """How many messages the group has not acknowledged, by topic."""

    async def rewind(self, topics: Sequence[str], group: str, moment: datetime) -> None:
        """Let the group go on from the first message at or after `moment`. Raises GroupActive while it has members."""

    async def close(self) -> None: ...
