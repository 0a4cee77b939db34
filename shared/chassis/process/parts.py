"""Background parts of a process: what runs beside the API, periodically or all the time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from chassis.brokers.port import Broker, BrokerUnavailable
from chassis.database.errors import RETRYABLE, is_transient
from chassis.resilience.backoff import Backoff, repeat_every, wait_for_any
from chassis.telemetry.outage import Outage

logger = logging.getLogger(__name__)
LAG_SECONDS = 15
PRUNE_SECONDS = 3600
RETRY_SECONDS = 60  # after a database error of a periodic part


@dataclass(frozen=True)
class BackgroundPart:
    """Runs until its `stop` is set. A part that publishes stops after the others: their last messages still leave."""

    name: str
    run: Callable[[asyncio.Event], Coroutine[Any, Any, None]]
    publishes: bool = False


def periodic(name: str, seconds: float, action: Callable[[], Awaitable[None]]) -> BackgroundPart:
    """A part that repeats an action. After an error of the database that passes by itself it goes on soon."""

    async def run(stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await repeat_every(seconds, action, stop)
            except Exception as error:
                if not (is_transient(error) or isinstance(error, RETRYABLE)):
                    raise
                logger.warning("a periodic part failed and goes on", extra={"part": name, "error": repr(error)})
                await wait_for_any(RETRY_SECONDS, stop)

    return BackgroundPart(name, run)


async def ensure_topics(broker: Broker, topics: Sequence[str], stop: asyncio.Event) -> None:
    """A topic that is not as the contracts want it ends the process; a broker that is away is waited for."""
    outage, backoff = Outage("the broker that is to have the topics", logger), Backoff()
    while not stop.is_set():
        try:
            await broker.ensure_topics(topics)
            return outage.end()
        except BrokerUnavailable as error:
            outage.begin(error)
            await backoff.pause(stop)
