"""Publishing to Pulsar, and the consumers that join or manage groups."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime

from pulsar import ConsumerType, InitialPosition, Result
from pulsar.asyncio import Client, Consumer, Producer, PulsarException

from chassis.brokers.port import BrokerUnavailable, GroupActive, StartPosition
from chassis.brokers.pulsar.admin import Admin
from chassis.brokers.pulsar.subscription import CLOSE_SECONDS, PulsarSubscription, within
from chassis.message import Envelope

MAX_IN_FLIGHT = 500  # messages that a producer sends before they are awaited; its buffer holds twice this number
PREFETCH = 200  # messages that a consumer prefetches from each topic …
PREFETCH_ALL = 1000  # … and from all partitions of a partitioned topic
PUBLISH_SECONDS = 10
OPERATION_SECONDS = 5  # to create a producer, to join a group

_quiet = logging.getLogger("pulsar")
_quiet.setLevel(logging.CRITICAL)  # it logs each attempt; failures that matter are raised


class PulsarBroker:
    """Topics without partitions: a Key_Shared subscription spreads the keys of one topic over the consumers of a group.

    Messages are sent without batches. A batch goes to one consumer as a whole, so it would have to be of one key. And
    when a consumer dies with a half acknowledged batch, the client of the next consumer never acknowledges the batch as
    a whole, and the broker then withholds the key from a third consumer (Pulsar 4.2.4). The retention of topics is a
    policy of their namespace.
    """

    def __init__(self, url: str, admin_url: str = "http://127.0.0.1:8080") -> None:
        self._url = url
        self._admin = Admin(admin_url)
        self._opened: Client | None = None
        self._producers: dict[str, Producer] = {}

    @property
    def _client(self) -> Client:
        """Opened at the first use: its threads do not survive a fork."""
        if self._opened is None:
            self._opened = Client(self._url, operation_timeout_seconds=OPERATION_SECONDS, logger=_quiet)
        return self._opened

    async def ensure_topics(self, topics: Sequence[str]) -> None:
        await self._admin.ensure_topics(topics)

    async def publish(self, envelopes: Sequence[Envelope]) -> None:
        try:
            for start in range(0, len(envelopes), MAX_IN_FLIGHT):
                async with asyncio.timeout(PUBLISH_SECONDS):
                    await self._send(envelopes[start : start + MAX_IN_FLIGHT])
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
            send_timeout_millis=0,  # no time-out of its own: the caller decides how long to wait
            max_pending_messages=2 * MAX_IN_FLIGHT,
            batching_enabled=False,
        )

    async def _drop_producers(self) -> None:
        """After a failure: buffered messages must not be sent later, since the relay publishes them again."""
        dropped, self._producers = self._producers, {}
        await within(CLOSE_SECONDS, *(producer.close() for producer in dropped.values()))

    async def subscribe(
        self, topics: Sequence[str], group: str, start: StartPosition = StartPosition.BEGINNING
    ) -> PulsarSubscription:
        first = InitialPosition.Latest if start is StartPosition.NOW else InitialPosition.Earliest
        try:
            consumer = await self._client.subscribe(
                list(topics),
                group,
                consumer_type=ConsumerType.KeyShared,
                initial_position=first,
                receiver_queue_size=PREFETCH,
                max_total_receiver_queue_size_across_partitions=PREFETCH_ALL,
            )
        except PulsarException as error:
            raise BrokerUnavailable(f"Pulsar at {self._url}: {error}") from error
        return PulsarSubscription(consumer)

    async def lag(self, topics: Sequence[str], group: str) -> dict[str, int]:
        return {topic: await self._admin.lag(topic, group) for topic in topics}

    async def rewind(self, topics: Sequence[str], group: str, moment: datetime) -> None:
        """By an exclusive consumer of the group. Pulsar compares the time of publishing."""
        try:
            async with AsyncExitStack() as exclusive:
                for topic in topics:
                    for partition in await self._client.get_topic_partitions(topic):
                        consumer = await exclusive.enter_async_context(self._exclusive(partition, group))
                        await consumer.seek(int(moment.timestamp() * 1000))
        except PulsarException as error:
            if error.error() == Result.ConsumerBusy:
                raise GroupActive("the group has members") from error
            raise BrokerUnavailable(f"Pulsar at {self._url}: {error}") from error

    @asynccontextmanager
    async def _exclusive(self, topic: str, group: str) -> AsyncIterator[Consumer]:
        consumer = await self._client.subscribe(
            topic, group, consumer_type=ConsumerType.Exclusive, initial_position=InitialPosition.Earliest
        )
        try:
            yield consumer
        finally:
            await within(CLOSE_SECONDS, consumer.close())

    async def close(self) -> None:
        """From a thread, since it blocks. Threads of the client may end later still: see `process.run.end_process`."""
        await self._admin.close()
        client, self._opened = self._opened, None
        if client is not None:
            await self._drop_producers()
            await within(CLOSE_SECONDS, asyncio.to_thread(client._client.close))


async def _send(producer: Producer, envelope: Envelope) -> None:
    await producer.send(
        envelope.body,
        properties={name: value.decode() for name, value in envelope.headers()},
        partition_key=envelope.key,
        event_timestamp=int(envelope.time.timestamp() * 1000),
    )
