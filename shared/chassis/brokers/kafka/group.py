"""Consumer groups on Kafka: one member, and the positions of a group."""

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
FETCH_BYTES = 4 * 1024 * 1024  # the most that a consumer prefetches from each broker


@dataclass(frozen=True)
class GroupTimeouts:
    """How long the members of a group wait for each other, in seconds."""

    heartbeat: float = 3  # how soon a member learns that another one has come or gone
    session: float = 10  # after this time without a heartbeat the member's partitions go to others
    rebalance: float = 8  # to finish the batch of revoked partitions …
    rollback: float = 2  # … and then to roll it back

    @property
    def join(self) -> float:
        """How long the server waits until every member has released its partitions."""
        return self.heartbeat + self.rebalance + self.rollback + 2


class KafkaSubscription(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """A member of a group. Its running batch is finished or rolled back before its partitions are revoked."""

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
            fetch_max_wait_ms=5_000,  # an idle consumer polls seldom; a new message still arrives at once
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
            pass  # the partitions were revoked; for their next owner the inbox has the messages
        except (TimeoutError, KafkaError, OSError) as error:
            raise BrokerUnavailable(f"Kafka did not take the acknowledgement: {error!r}") from error
        finally:
            self._idle.set()

    async def close(self) -> None:
        self._idle.set()
        await asyncio.wait({asyncio.create_task(self._consumer.stop())}, timeout=CLOSE_SECONDS)

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """The partitions are revoked when this returns. The server waits for it as long as a rebalance may take."""
        with suppress(TimeoutError):
            return await asyncio.wait_for(self._finished(), self._timeouts.rebalance)
        self.lost.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._finished(), self._timeouts.rollback)

    async def _finished(self) -> None:
        await self._idle.wait()

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """The member reads from the committed positions on."""


async def lag(group_admin: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> Counter[str]:
    """The distance of the group's positions from the ends. A group without a position begins with the oldest."""
    ends, begins = await group_admin.end_offsets(partitions), await group_admin.beginning_offsets(partitions)
    committed = await asyncio.gather(*map(group_admin.committed, partitions))
    distances = Counter[str]()
    for partition, position in zip(partitions, committed, strict=True):
        distances[partition.topic] += ends[partition] - max(position or 0, begins[partition])
    return distances


async def rewind(group_admin: AIOKafkaConsumer, partitions: Sequence[TopicPartition], moment: datetime) -> None:
    """Commit the position of the first message at or after the moment; the end of a partition without one."""
    found = await group_admin.offsets_for_times(dict.fromkeys(partitions, int(moment.timestamp() * 1000)))
    ends = await group_admin.end_offsets(partitions)
    await _commit(group_admin, {it: found[it].offset if found[it] else ends[it] for it in partitions})


async def begin_now(group_admin: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> None:
    """Commit the ends where the group has no position, so that it reads every message from now on."""
    new = [it for it in partitions if await group_admin.committed(it) is None]
    if new:
        with suppress(GroupActive):  # a group that has members is not new
            await _commit(group_admin, await group_admin.end_offsets(new))


async def _commit(group_admin: AIOKafkaConsumer, positions: dict[TopicPartition, int]) -> None:
    """The server accepts positions from a consumer outside of the group while the group has no member."""
    group_admin.assign(list(positions))
    group_admin.pause(*positions)  # it reads no messages
    try:
        await group_admin.commit(positions)
    except CommitFailedError as error:
        raise GroupActive("the group has members (one that was killed counts for some seconds more)") from error
