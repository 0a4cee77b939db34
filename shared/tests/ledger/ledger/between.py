"""A broker that passes everything on to another: what tests put between a service and its broker begins here."""

from collections.abc import Sequence
from datetime import datetime

from chassis.brokers.port import Broker, BrokerSubscription, StartPosition
from chassis.message import Envelope


class Between:
    """The broker port, passed on."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def ensure_topics(self, topics: Sequence[str]) -> None:
        await self._broker.ensure_topics(topics)

    async def publish(self, envelopes: Sequence[Envelope]) -> None:
        await self._broker.publish(envelopes)

    async def subscribe(
        self, topics: Sequence[str], group: str, start: StartPosition = StartPosition.BEGINNING
    ) -> BrokerSubscription:
        return await self._broker.subscribe(topics, group, start)

    async def lag(self, topics: Sequence[str], group: str) -> dict[str, int]:
        return await self._broker.lag(topics, group)

    async def rewind(self, topics: Sequence[str], group: str, moment: datetime) -> None:
        await self._broker.rewind(topics, group, moment)

    async def close(self) -> None:
        await self._broker.close()


class BetweenSubscription:
    """A subscription, passed on."""

    def __init__(self, subscription: BrokerSubscription) -> None:
        self._subscription, self.lost = subscription, subscription.lost

    async def receive(self, limit: int) -> list[Envelope]:
        return await self._subscription.receive(limit)

    async def acknowledge(self) -> None:
        await self._subscription.acknowledge()

    async def close(self) -> None:
        await self._subscription.close()
