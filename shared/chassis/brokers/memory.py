"""The broker of one process: for tests, and for the whole shop without a broker."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from datetime import datetime

from chassis.brokers.port import StartPosition
from chassis.message import Envelope

Delivery = tuple[Envelope, asyncio.Future[None]]


class MemoryBroker:
    """Publishing returns when every group has acknowledged: the outbox keeps the messages that a crash interrupts."""

    def __init__(self, groups: Mapping[str, Sequence[str]] | None = None) -> None:
        """`groups` (with their topics) will join later: messages that are published before wait for them."""
        self._groups: dict[str, dict[str, MemorySubscription]] = defaultdict(dict)
        for group, topics in (groups or {}).items():
            self._place(topics, group)

    async def ensure_topics(self, topics: Sequence[str]) -> None:
        """A topic exists as soon as it is named."""

    async def publish(self, envelopes: Sequence[Envelope]) -> None:
        deliveries = []
        for envelope in envelopes:
            for subscription in self._groups[envelope.topic].values():
                acknowledged = asyncio.get_running_loop().create_future()
                subscription.deliver(envelope, acknowledged)
                deliveries.append(acknowledged)
        if deliveries:
            await asyncio.wait(deliveries)

    async def subscribe(
        self, topics: Sequence[str], group: str, start: StartPosition = StartPosition.BEGINNING
    ) -> "MemorySubscription":
        """There is no history: a new group always begins now."""
        subscription = self._place(topics, group)
        if not subscription.closed:
            raise ValueError(f"the memory broker has one consumer per group, and {group} has joined already")
        subscription.closed = False
        return subscription

    def _place(self, topics: Sequence[str], group: str) -> "MemorySubscription":
        earlier = next((self._groups[topic][group] for topic in topics if group in self._groups[topic]), None)
        subscription = earlier or MemorySubscription()
        for topic in topics:
            self._groups[topic][group] = subscription
        return subscription

    async def lag(self, topics: Sequence[str], group: str) -> dict[str, int]:
        groups = {topic: self._groups[topic].get(group) for topic in topics}
        return {topic: subscription.waiting(topic) if subscription else 0 for topic, subscription in groups.items()}

    async def rewind(self, topics: Sequence[str], group: str, moment: datetime) -> None:
        raise NotImplementedError("the memory broker keeps no history to go back to")

    async def close(self) -> None:
        """Nothing is held open."""


class MemorySubscription:
    """The one consumer of a group. It exists beyond its closing and collects what is published meanwhile."""

    def __init__(self) -> None:
        self.closed = True
        self.lost = asyncio.Event()  # never set: a group has one consumer
        self._waiting: deque[Delivery] = deque()
        self._received: list[Delivery] = []
        self._arrived = asyncio.Event()

    def deliver(self, envelope: Envelope, acknowledged: asyncio.Future[None]) -> None:
        self._waiting.append((envelope, acknowledged))
        self._arrived.set()

    def waiting(self, topic: str) -> int:
        return sum(envelope.topic == topic for envelope, _ in (*self._waiting, *self._received))

    async def receive(self, limit: int) -> list[Envelope]:
        while not (self._waiting or self._received):
            self._arrived.clear()
            await self._arrived.wait()
        while self._waiting and len(self._received) < limit:
            self._received.append(self._waiting.popleft())
        return [envelope for envelope, _ in self._received]

    async def acknowledge(self) -> None:
        for _, acknowledged in self._received:
            if not acknowledged.done():
                acknowledged.set_result(None)
        self._received.clear()

    async def close(self) -> None:
        self._waiting.extendleft(reversed(self._received))
        self._received.clear()
        self.closed = True
