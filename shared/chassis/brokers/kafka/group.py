"""Groups on Kafka: a member of one, and the positions of one."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from chassis.brokers.port import BrokerUnavailable, GroupActive
from chassis.message import Envelope

ACKNOWLEDGE_SECONDS = 5  # aiokafka itself would try for ever
CLOSE_SECONDS = 5
FETCH_BYTES = 4 * 1024 * 1024  # a consumer holds at most so much of each broker, beside the batch in hand


@dataclass(frozen=True)
class GroupTimeouts:
    """How long the members of a group wait for each other, in seconds."""

    heartbeat: float = 3  # how soon a member learns that another one has come or gone
    session: float = 10  # without a heartbeat, then the partitions of the member go to others
    rebalance: float = 8  # to finish a batch whose partitions go to others …
    undo: float = 2  # … and to undo the batch, when that is not enough

    @property
    def join(self) -> float:
        """How long the server waits until every member has given up its partitions."""
        return self.heartbeat + self.rebalance + self.undo + 2


class KafkaSubscription(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """A member whose running batch is finished or undone before its partitions are given away."""

    def __init__(self, servers: str, client_id: str, group: str, timeouts: GroupTimeouts) -> None:
        self._timeouts = timeouts
        self.lost = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=servers,
            client_id=client_id,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(timeouts.session * 1000),
            heartbeat_interval_ms=int(timeouts.heartbeat * 1000),
            rebalance_timeout_ms=int(timeouts.join * 1000),
            max_poll_interval_ms=24 * 3600 * 1000,  # a consumer that waits for its database stays in the group
            fetch_max_wait_ms=5_000,  # an idle consumer asks rarely; a message is delivered at once all the same
            fetch_max_bytes=FETCH_BYTES,
        )

    async def join(self, topics: Sequence[str]) -> None:
        self._consumer.subscribe(topics=list(topics), listener=self)
        try:
            await self._consumer.start()
        except BaseException:
            await self.close()
            raise

    async def receive(self, limit: int) -> list[Envelope]:
        self._idle.set()
        self.lost.clear()
        records: list[Any] = []
        while not records:
            try:
                fetched = await self._consumer.getmany(timeout_ms=3_600_000, max_records=limit)
            except (KafkaError, OSError) as error:
                raise BrokerUnavailable(repr(error)) from error
            records = [record for partition in fetched.values() for record in partition]
        self._idle.clear()
        return [
            Envelope.read(
                record.topic, (record.key or b"").decode(errors="replace"), record.headers, record.value or b""
            )
            for record in records
        ]

    async def acknowledge(self) -> None:
        try:
            async with asyncio.timeout(ACKNOWLEDGE_SECONDS):
                await self._consumer.commit()
        except (CommitFailedError, IllegalStateError):
            pass  # the partitions have moved; their next owner meets the inbox
        except (TimeoutError, KafkaError, OSError) as error:
            raise BrokerUnavailable(f"Kafka did not take the acknowledgement: {error!r}") from error
        finally:
            self._idle.set()

    async def close(self) -> None:
        self._idle.set()
        await asyncio.wait({asyncio.create_task(self._consumer.stop())}, timeout=CLOSE_SECONDS)

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """They are given away when this returns, and the server waits for it as long as the rebalance may take."""
        with suppress(TimeoutError):
            return await asyncio.wait_for(self._finished(), self._timeouts.rebalance)
        self.lost.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._finished(), self._timeouts.undo)

    async def _finished(self) -> None:
        await self._idle.wait()

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Reading goes on where the group has committed."""


async def lag(outsider: AIOKafkaConsumer, places: Sequence[TopicPartition]) -> Counter[str]:
    """The distance of the group's positions from the ends. Where it has none, it begins with the oldest message."""
    ends, begins = await outsider.end_offsets(places), await outsider.beginning_offsets(places)
    committed = await asyncio.gather(*map(outsider.committed, places))
    distances = Counter[str]()
    for place, position in zip(places, committed, strict=True):
        distances[place.topic] += ends[place] - max(position or 0, begins[place])
    return distances


async def rewind(outsider: AIOKafkaConsumer, places: Sequence[TopicPartition], moment: datetime) -> None:
    """Commit the position of the first message with this time of its own, or the end where there is none."""
    found = await outsider.offsets_for_times(dict.fromkeys(places, int(moment.timestamp() * 1000)))
    ends = await outsider.end_offsets(places)
    await _commit(outsider, {place: found[place].offset if found[place] else ends[place] for place in places})


async def begin_now(outsider: AIOKafkaConsumer, places: Sequence[TopicPartition]) -> None:
    """Commit the ends where the group has no position: what comes from now on is not lost, whatever happens to it."""
    new = [place for place in places if await outsider.committed(place) is None]
    if new:
        with suppress(GroupActive):  # a group that has members is not new
            await _commit(outsider, await outsider.end_offsets(new))


async def _commit(outsider: AIOKafkaConsumer, positions: dict[TopicPartition, int]) -> None:
    """The server takes it from one who is no member while there is none."""
    outsider.assign(list(positions))
    outsider.pause(*positions)  # it is not here to read
    try:
        await outsider.commit(positions)
    except CommitFailedError as error:
        raise GroupActive("the group has members (one that was killed counts for some seconds more)") from error
