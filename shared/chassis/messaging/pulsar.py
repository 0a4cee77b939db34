"""The broker port on Apache Pulsar."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

from pulsar import BatchingType, ConsumerType, InitialPosition, Message
from pulsar.asyncio import Client, Consumer, Producer, PulsarException

from chassis.messaging.broker import BrokerUnavailable
from chassis.messaging.message import Envelope

AT_ONCE = 500  # messages given to a producer before it is waited for; its buffer holds twice as many
PREFETCH = 200  # messages a consumer holds of each topic, beside those that are being handled
PUBLISH_SECONDS = 10
OPERATION_SECONDS = 5  # to create a producer, to join a group, to acknowledge
LINGER_SECONDS = 0.001  # what has arrived together is handled together
CLOSE_SECONDS = 5

_quiet = logging.getLogger("pulsar")
_quiet.setLevel(logging.CRITICAL)  # it tells of every attempt; what matters comes as an exception


class PulsarBroker:
    """Topics without partitions: a Key_Shared subscription spreads the keys of one topic over the consumers of a group.

    Batches are made per key, because a batch goes to one consumer as a whole. Topics are made by the broker at their
    first use, and kept for as long as their namespace says; partitioned ones, made by an operator, do as well.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened: Client | None = None
        self._producers: dict[str, Producer] = {}

    @property
    def _client(self) -> Client:
        """Made at the first use: its threads do not survive a fork."""
        if self._opened is None:
            self._opened = Client(self._url, operation_timeout_seconds=OPERATION_SECONDS, logger=_quiet)
        return self._opened

    async def publish(self, envelopes: Sequence[Envelope]) -> None:
        try:
            for start in range(0, len(envelopes), AT_ONCE):
                async with asyncio.timeout(PUBLISH_SECONDS):
                    await self._send(envelopes[start : start + AT_ONCE])
        except (TimeoutError, PulsarException) as error:
            await self._drop_producers()
            raise BrokerUnavailable(f"Pulsar at {self._url}: {error!r} {error}") from error

    async def _send(self, envelopes: Sequence[Envelope]) -> None:
        topics = {envelope.topic for envelope in envelopes}
        for topic in topics - self._producers.keys():
            self._producers[topic] = await self._new_producer(topic)
        sending = [_send(self._producers[envelope.topic], envelope) for envelope in envelopes]
        failures = [it for it in await asyncio.gather(*sending, return_exceptions=True) if isinstance(it, Exception)]
        if failures:
            raise failures[0]

    async def _new_producer(self, topic: str) -> Producer:
        return await self._client.create_producer(
            topic,
            send_timeout_millis=0,  # it goes on after an outage; who waits for it decides when to give up
            max_pending_messages=2 * AT_ONCE,
            batching_type=BatchingType.KeyBased,
            batching_max_messages=AT_ONCE,
            batching_max_publish_delay_ms=1,  # not `flush`, which can wait for a callback that waits for it
        )

    async def _drop_producers(self) -> None:
        """After a failure: what is left in a producer's buffer must not be sent behind the relay's back."""
        dropped, self._producers = self._producers, {}
        await _within(CLOSE_SECONDS, *(producer.close() for producer in dropped.values()))

    async def subscribe(self, topics: Sequence[str], group: str) -> "PulsarSubscription":
        try:
            consumer = await self._client.subscribe(
                list(topics),
                group,
                consumer_type=ConsumerType.KeyShared,
                initial_position=InitialPosition.Earliest,
                receiver_queue_size=PREFETCH,
                batch_index_ack_enabled=True,  # or what is acknowledged of a batch comes again with the rest
            )
        except PulsarException as error:
            raise BrokerUnavailable(f"Pulsar at {self._url}: {error}") from error
        return PulsarSubscription(consumer)

    async def close(self) -> None:
        """Also for the threads of the client: a process that ends while they run may abort."""
        client, self._opened = self._opened, None
        if client is not None:
            await self._drop_producers()
            await _within(CLOSE_SECONDS, client.close())


class PulsarSubscription:
    """A consumer with one `receive` under way: to cancel it would lose the next message."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._receiving: asyncio.Future[Message] | None = None
        self._received: list[Message] = []

    async def receive(self, limit: int) -> list[Envelope]:
        while not self._received:
            await self._take(None)
        while len(self._received) < limit and await self._take(LINGER_SECONDS):
            pass
        return [_envelope(message) for message in self._received]

    async def _take(self, seconds: float | None) -> bool:
        """Whether a message came within this time. One that comes later is there for the next call."""
        receiving = self._receiving = self._receiving or asyncio.ensure_future(self._consumer.receive())
        await asyncio.wait({receiving}, timeout=seconds)
        if not receiving.done():
            return False
        self._receiving = None
        try:
            self._received.append(receiving.result())
        except PulsarException as error:
            raise BrokerUnavailable(f"Pulsar: {error}") from error
        return True

    async def acknowledge(self) -> None:
        received, self._received = self._received, []
        try:
            async with asyncio.timeout(OPERATION_SECONDS):  # a broker that does not answer is away
                await asyncio.gather(*map(self._consumer.acknowledge, received))
        except (TimeoutError, PulsarException) as error:
            raise BrokerUnavailable(f"Pulsar did not take the acknowledgement: {error!r}") from error

    async def close(self) -> None:
        await _within(CLOSE_SECONDS, self._consumer.close())
        if self._receiving is not None:
            await _within(CLOSE_SECONDS, self._receiving)


async def _send(producer: Producer, envelope: Envelope) -> None:
    await producer.send(
        envelope.body,
        properties={name: value.decode() for name, value in envelope.headers()},
        partition_key=envelope.key,
        event_timestamp=int(envelope.time.timestamp() * 1000),
    )


def _envelope(message: Message) -> Envelope:
    topic = message.topic_name().rpartition("/")[2].partition("-partition-")[0]
    key, properties = "", {}
    with suppress(UnicodeDecodeError):  # a stranger's: without headers it cannot be read, and is parked
        key = message.partition_key()
        properties = message.properties()
    return Envelope.read(topic, key, [(name, value.encode()) for name, value in properties.items()], message.data())


async def _within(seconds: float, *closing: "Coroutine[Any, Any, None] | asyncio.Future[Any]") -> None:
    """Give each this time to end, well or not: the other side may be gone."""
    if closing:
        done, _ = await asyncio.wait(map(asyncio.ensure_future, closing), timeout=seconds)
        for it in done:
            it.exception()
