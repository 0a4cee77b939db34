"""The consumer: handles messages in batches, each batch in one transaction with its inbox rows.

A batch is acknowledged after the commit (at-least-once delivery). During an outage the consumer waits and then goes on
with the same batch. When a batch fails, its messages are handled one by one: conflicts are retried, and a message that
still fails is a poison message and becomes a dead letter. Later messages of its key wait behind it. Pattern:
*Idempotent Receiver* (Hohpe and Woolf).
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from opentelemetry.trace import SpanKind
from pydantic import ValidationError

from chassis.brokers.port import Broker, BrokerUnavailable
from chassis.brokers.port import BrokerSubscription as BrokerSubscription
from chassis.database.errors import RETRYABLE, is_transient
from chassis.database.loading import load_rows
from chassis.database.pool import Database
from chassis.database.unit_of_work import UnitOfWork
from chassis.message import Envelope, Message
from chassis.messaging.dead_letters import DeadLetterQueue
from chassis.messaging.subscriptions import Subscriptions
from chassis.resilience.backoff import Backoff, run_until
from chassis.telemetry import metrics, tracing
from chassis.telemetry.outage import Outage

logger = logging.getLogger(__name__)
TRIES = 5

_record = """
WITH blocked AS (
    SELECT key FROM dead_letter_keys WHERE consumer_group = $1 AND key = ANY($3::text[]) FOR SHARE
), fresh AS (
    INSERT INTO inbox (consumer_group, id) SELECT $1, unnest($2::uuid[]) ON CONFLICT DO NOTHING RETURNING id
)
SELECT (SELECT array_agg(id) FROM fresh) AS fresh, (SELECT array_agg(key) FROM blocked) AS blocked
"""


class Unreadable(Exception):
    """The body of a message does not fit the contract of its type."""


class Consumer:
    """Handles the messages that a service subscribes to, in the group of the service's name."""

    def __init__(self, database: Database[Any], broker: Broker, subscriptions: Subscriptions, batch: int) -> None:
        self.outage = Outage("the broker or the database of the consumer", logger, "not subscribed yet")
        self.dead_letters = DeadLetterQueue(database, self._handle_again)
        self._database, self._broker, self._on = database, broker, subscriptions
        self._group, self._limit = database.service, batch
        self._outage_by_lag = False

    async def run(self, stop: asyncio.Event) -> None:
        backoff = Backoff()
        while not stop.is_set():
            subscription = None
            try:
                subscription = await self._broker.subscribe(self._on.topics, self._group, self._on.start)
                self.outage.end()
                await self._consume(subscription, stop, backoff)
            except BrokerUnavailable as error:
                self.outage.begin(error)
                await backoff.pause(stop)
            finally:
                if subscription is not None:
                    await subscription.close()

    async def lag(self) -> dict[str, int]:
        """The messages that the group has not acknowledged yet, by topic. Raises BrokerUnavailable."""
        return await self._broker.lag(self._on.topics, self._group) if self._on.topics else {}

    async def _consume(self, subscription: BrokerSubscription, stop: asyncio.Event, backoff: Backoff) -> None:
        while not stop.is_set():
            batch = await run_until(stop, subscription.receive(self._limit))
            if batch is None:
                return
            handled = await run_until(subscription.lost, self._handle_until_done(batch, stop, backoff))
            if handled is None:
                logger.warning("a batch took too long and was rolled back: its messages go to another consumer")
            elif not handled:
                return
            else:
                await subscription.acknowledge()
                self.outage.end()
                backoff.reset()

    async def _handle_until_done(self, batch: Sequence[Envelope], stop: asyncio.Event, backoff: Backoff) -> bool:
        """Handle the batch, waiting while the database is away. False: the service stops and the batch is not done."""
        while True:
            try:
                await self.handle(batch)
                return True
            except Exception as error:
                if not (is_transient(error) or isinstance(error, RETRYABLE)):
                    raise
                self.outage.begin(error)
                await backoff.pause(stop)
                if stop.is_set():
                    return False

    async def measure_lag(self) -> None:
        """Set the metric. A consumer that waits for messages learns here that the broker is away."""
        try:
            for topic, count in (await self.lag()).items():
                metrics.lag.labels(self._group, topic).set(count)
            if self._outage_by_lag:
                self.outage.end()
            self._outage_by_lag = False
        except BrokerUnavailable as error:
            if self.outage.reason is None:
                self.outage.begin(error)
                self._outage_by_lag = True

    async def handle(self, batch: Sequence[Envelope]) -> None:
        """Apply a batch, each message once. Raises only while the database is away; nothing is lost then."""
        wanted = [envelope for envelope in batch if not envelope.type or envelope.type in self._on.by_type]
        for envelope in batch:
            if envelope.type and envelope.type not in self._on.by_type:
                metrics.skipped.labels(self._group, envelope.type).inc()
        if not wanted:
            return
        try:
            await self._apply(wanted)
        except Exception as error:
            if is_transient(error):
                raise
            if not isinstance(error, RETRYABLE):
                logger.debug("a batch failed, going one by one", exc_info=error)
            for envelope in wanted:
                await self._apply_alone(envelope)

    async def _apply_alone(self, envelope: Envelope) -> None:
        for attempt in range(1, TRIES + 1):
            try:
                return await self._apply([envelope])
            except Exception as error:
                if is_transient(error):
                    raise
                if not isinstance(error, RETRYABLE) or attempt == TRIES:
                    return await self._dead_letter(envelope, error)
                await asyncio.sleep(0.02 * 2**attempt * random.uniform(0.5, 1))

    async def _apply(self, envelopes: Sequence[Envelope]) -> None:
        async with self._database.work() as work:
            fresh, blocked = await self._record(work, envelopes)
            ready: list[tuple[Envelope, Message]] = []
            for envelope in envelopes:
                if envelope.id not in fresh:
                    metrics.duplicates.labels(self._group).inc()
                elif envelope.key in blocked:
                    await self.dead_letters.add(work, envelope, "waits behind an earlier message of its key")
                else:
                    ready.append((envelope, self._read(envelope)))
                fresh.discard(envelope.id)
            await self.run_handlers(work, ready)

    async def _record(self, work: UnitOfWork[Any], envelopes: Sequence[Envelope]) -> tuple[set[UUID], set[str]]:
        ids, keys = [envelope.id for envelope in envelopes], sorted({envelope.key for envelope in envelopes})
        (row,) = await work.execute(_record, self._group, ids, keys)
        return set(row["fresh"] or ()), set(row["blocked"] or ())

    def _read(self, envelope: Envelope) -> Message:
        if not envelope.type:
            raise Unreadable("the envelope's headers could not be read")
        try:
            return self._on.by_type[envelope.type].type.model_validate_json(envelope.body)
        except ValidationError as error:
            raise Unreadable(f"{error.error_count()} fields do not fit: {error.errors(include_url=False)}") from error

    async def _handle_again(self, work: UnitOfWork[Any], envelope: Envelope) -> None:
        await self.run_handlers(work, [(envelope, self._read(envelope))])

    async def run_handlers(self, work: UnitOfWork[Any], messages: Sequence[tuple[Envelope, Message]]) -> None:
        """Load the rows that all the messages need, then handle one message after the other."""
        by_type = self._on.by_type
        await load_rows(work, [(message, by_type[envelope.type].needs) for envelope, message in messages])
        for envelope, message in messages:
            work.cause = envelope
            with tracing.span(
                self._group,
                f"process {envelope.type}",
                SpanKind.CONSUMER,
                parent=envelope.traceparent,
                links=[messages[0][0].traceparent] if messages[0][0] is not envelope else (),
                attributes={"messaging.message.id": str(envelope.id), "messaging.message.key": envelope.key},
            ):
                by_type[envelope.type].handler(message, work)
            metrics.handled.labels(self._group, envelope.type).inc()

    async def _dead_letter(self, envelope: Envelope, error: Exception) -> None:
        logger.error(
            "a message became a dead letter",
            extra={"type": envelope.type, "key": envelope.key, "message_id": str(envelope.id)},
            exc_info=error,
        )
        metrics.dead_lettered.labels(self._group, envelope.type).inc()
        async with self._database.work() as work:
            fresh, _ = await self._record(work, [envelope])
            if fresh:
                await self.dead_letters.add(work, envelope, repr(error))
