"""The ledger on Kafka in a process that kills itself the third time it gets to a point: `python -m ledger.dying POINT`.

What a crash leaves behind is what the chassis has to make good; nothing in here helps it.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from chassis.brokers.kafka import GroupTimeouts, KafkaBroker
from chassis.brokers.kafka.group import KafkaSubscription
from chassis.brokers.port import StartPosition
from chassis.message import Envelope
from chassis.process.instance import Instance
from ledger.main import service

BEFORE_PUBLISH = "between commit and publish"
AFTER_PUBLISH = "between publish and mark"
BEFORE_ACKNOWLEDGE = "between commit and acknowledge"
AFTER_ACKNOWLEDGE = "after acknowledge"  # what is acknowledged has been committed
POINTS = [BEFORE_PUBLISH, AFTER_PUBLISH, BEFORE_ACKNOWLEDGE, AFTER_ACKNOWLEDGE]


class DyingBroker(KafkaBroker):
    """A broker that is the end of its process."""

    def __init__(self, servers: str, point: str) -> None:
        super().__init__(servers, "dying", timeouts=GroupTimeouts(heartbeat=0.3, session=3, rebalance=2, rollback=1))
        self._point, self._left = point, 3

    def reach(self, point: str) -> None:
        self._left -= point == self._point
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    async def publish(self, envelopes: Sequence[Envelope]) -> None:
        self.reach(BEFORE_PUBLISH)
        await super().publish(envelopes)
        self.reach(AFTER_PUBLISH)

    async def subscribe(
        self, topics: Sequence[str], group: str, start: StartPosition = StartPosition.BEGINNING
    ) -> KafkaSubscription:
        subscription = await super().subscribe(topics, group, start)
        acknowledge = subscription.acknowledge

        async def acknowledge_and_die() -> None:
            self.reach(BEFORE_ACKNOWLEDGE)
            await acknowledge()
            self.reach(AFTER_ACKNOWLEDGE)

        subscription.acknowledge = acknowledge_and_die  # type: ignore[method-assign]
        return subscription


if __name__ == "__main__":
    settings = service.settings.of(service.name)
    broker = DyingBroker(settings.kafka_bootstrap_servers, sys.argv[1])
    asyncio.run(Instance(service, settings, broker).run("all"))
