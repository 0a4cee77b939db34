"""The background parts of a process: what runs beside the API in each role, and in which order the parts stop."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from chassis.brokers.port import BrokerUnavailable
from chassis.database.errors import RETRYABLE, is_transient
from chassis.database.retention import prune
from chassis.message import announced_topics
from chassis.resilience.backoff import Backoff, repeat_every, wait_for_any
from chassis.telemetry.outage import Outage

if TYPE_CHECKING:
    from chassis.process.instance import Instance

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


def parts_of(instance: "Instance[Any]", role: str) -> Iterator[BackgroundPart]:
    """The parts of a role. `all` has those of every role."""
    consumes, subscribed = role in ("consumer", "all"), bool(instance.service.subscriptions.by_type)
    if role in ("consumer", "relay", "all"):
        yield BackgroundPart("topics", partial(_ensure_topics, instance))
    if consumes and subscribed:
        yield BackgroundPart("consumer", instance.consumer.run)
        yield _periodic("lag", LAG_SECONDS, instance.consumer.measure_lag)
    if consumes:
        for sweeper in instance.sweepers:
            yield BackgroundPart("deadlines", sweeper.run)
        yield _periodic("retention", PRUNE_SECONDS, partial(prune, instance.database))
    if role in ("worker", "all"):
        yield BackgroundPart("worker", instance.tasks.work)
    if role in ("beat", "all"):
        yield BackgroundPart("beat", instance.tasks.beat)
    if instance.relay is not None:
        yield BackgroundPart("relay", instance.relay.run, publishes=True)


def _periodic(name: str, seconds: float, action: Callable[[], Awaitable[None]]) -> BackgroundPart:
    """A part that repeats an action. After an error of the database that passes by itself it goes on soon."""

    async def run(stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await repeat_every(seconds, action, stop)
            except Exception as error:
                if not (is_transient(error) or isinstance(error, RETRYABLE)):
                    raise
                logger.warning(
                    "a periodic part failed and will be repeated", extra={"part": name, "error": repr(error)}
                )
                await wait_for_any(RETRY_SECONDS, stop)

    return BackgroundPart(name, run)


async def _ensure_topics(instance: "Instance[Any]", stop: asyncio.Event) -> None:
    """A topic that is not as the contracts want it ends the process; a broker that is away is waited for."""
    service = instance.service
    topics = sorted(announced_topics(service.name) | set(service.subscriptions.topics))
    outage, backoff = Outage("the broker that is to have the topics", logger), Backoff()
    while not stop.is_set():
        try:
            await instance.broker.ensure_topics(topics)
            return outage.end()
        except BrokerUnavailable as error:
            outage.begin(error)
            await backoff.pause(stop)
