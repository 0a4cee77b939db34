"""The ledger on Kafka in a process that kills itself the third time it gets to a point: `python -m ledger.dying POINT`.

What a crash leaves behind is what the chassis has to make good; nothing in here helps it.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from chassis.instance import Instance
from chassis.messaging.broker import Broker, Subscription
from chassis.messaging.kafka import KafkaBroker
from chassis.messaging.message import Envelope
from ledger.main import service

BEFORE_PUBLISH = "between commit and publish"
AFTER_PUBLISH = "between publish and mark"
BEFORE_ACKNOWLEDGE = "between commit and acknowledge"
AFTER_ACKNOWLEDGE = "after acknowledge"  # what is acknowledged has been committed
POINTS = [BEFORE_PUBLISH, AFTER_PUBLISH, BEFORE_ACKNOWLEDGE, AFTER_ACKNOWLEDGE]


class Dying:
    """A broker that is the end of its process."""

    def __init__(self, broker: Broker, point: str) -> None:
        self._broker, self._point, self._left = broker, point, 3

    def reach(self, point: str) -> None:
        self._left -= point == self._point
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    async def publish(self, envelopes: Sequence[Envelope]) -> None:
        self.reach(BEFORE_PUBLISH)
        await self._broker.publish(envelopes)
        self.reach(AFTER_PUBLISH)

    async def subscribe(self, topics: Sequence[str], group: str) -> Subscription:
        return DyingSubscription(await self._broker.subscribe(topics, group), self)

    async def close(self) -> None:
        await self._broker.close()


class DyingSubscription:
    def __init__(self, subscription: Subscription, dying: Dying) -> None:
        self._subscription, self._dying = subscription, dying

    async def receive(self, limit: int) -> list[Envelope]:
        return await self._subscription.receive(limit)

    async def acknowledge(self) -> None:
        self._dying.reach(BEFORE_ACKNOWLEDGE)
        await self._subscription.acknowledge()
        self._dying.reach(AFTER_ACKNOWLEDGE)

    async def close(self) -> None:
        await self._subscription.close()


if __name__ == "__main__":
    settings = service.settings.of(service.name)
    broker = Dying(KafkaBroker(settings.kafka_bootstrap_servers, service.name), sys.argv[1])
    asyncio.run(Instance(service, settings, broker).run("all"))
