"""A consumer of a group that notes what it gets; as a process, which can be killed:

python -m brokers.member BROKER ADDRESS TOPIC GROUP FILE      # a line for each message, then its acknowledgement
"""

import asyncio
import signal
import sys
import time
from asyncio.subprocess import Process
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, cast

from chassis.brokers.kafka import GroupTimeouts, KafkaBroker
from chassis.brokers.port import Broker, StartPosition
from chassis.brokers.pulsar import PulsarBroker
from chassis.message import Envelope
from chassis.messaging.consumer import Consumer
from chassis.process.run import end_process


@dataclass(frozen=True)
class Handled:
    """That a member had this message, and when. Monotonic seconds, comparable between processes."""

    member: str
    key: str
    number: int
    began: float
    ended: float


class Noting(Protocol):
    """A member, here or in another process."""

    @property
    def handled(self) -> list[Handled]: ...


class Member(Consumer):
    """The chassis' loop of receiving and acknowledging, without a database: messages take a while and are noted."""

    def __init__(
        self,
        broker: Broker,
        topic: str,
        group: str,
        name: str,
        batch: int = 20,
        start: StartPosition = StartPosition.BEGINNING,
    ) -> None:
        service, on = SimpleNamespace(service=group), SimpleNamespace(topics=[topic], start=start)
        super().__init__(cast(Any, service), broker, cast(Any, on), batch)
        self.name, self.broker = name, broker
        self.pause_seconds = 0.0
        self.handled: list[Handled] = []
        self.stop, self.free, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.free.set()  # while it is not, this one does not get on

    async def handle(self, batch: Sequence[Envelope]) -> None:
        for envelope in batch:
            began = time.monotonic()
            await self.free.wait()
            await asyncio.sleep(self.pause_seconds)
            self.note(Handled(self.name, envelope.key, int(envelope.body), began, time.monotonic()))

    def note(self, handled: Handled) -> None:
        self.handled.append(handled)


class Writing(Member):
    """Notes into a file, which survives it."""

    file: Path

    def note(self, handled: Handled) -> None:
        with self.file.open("a") as file:
            file.write(f"{handled.key} {handled.number} {handled.began} {handled.ended}\n")


@dataclass
class Spawned:
    """A member in a process of its own."""

    process: Process
    file: Path

    @property
    def handled(self) -> list[Handled]:
        whole = self.file.read_text().rpartition("\n")[0] if self.file.exists() else ""
        parts = [line.split() for line in whole.splitlines()]
        name = self.file.name
        return [Handled(name, key, int(number), float(began), float(ended)) for key, number, began, ended in parts]

    async def end(self, how: signal.Signals) -> int:
        """Its exit code."""
        self.process.send_signal(how)
        return await asyncio.wait_for(self.process.wait(), 30)


def handled_by(*members: Noting) -> list[Handled]:
    return [it for member in members for it in member.handled]


def count_of(*members: Noting) -> int:
    """How many different messages they got."""
    return len({it.number for it in handled_by(*members)})


def in_order(*members: Noting) -> dict[str, list[int]]:
    """The numbers of each key as they were handled first: what is left when an inbox drops the doubles."""
    numbers: dict[str, dict[int, None]] = defaultdict(dict)
    for it in sorted(handled_by(*members), key=lambda it: it.ended):
        numbers[it.key][it.number] = None
    return {key: list(found) for key, found in numbers.items()}


def overlaps(*members: Noting) -> list[tuple[Handled, Handled]]:
    """Where two members had messages of one key at the same time."""
    found, last = [], dict[str, Handled]()
    for it in sorted(handled_by(*members), key=lambda it: it.began):
        before = last.get(it.key)
        if before and before.member != it.member and before.ended > it.began:
            found.append((before, it))
        if before is None or it.ended > before.ended:
            last[it.key] = it
    return found


# A fourth of what services use or less: the members of a test run side by side, on a server that allows it.
QUICK = GroupTimeouts(heartbeat=0.3, session=3, rebalance=2, rollback=1)


def connect(kind: str, address: str, *admin: str) -> Broker:
    return PulsarBroker(address, *admin) if kind == "pulsar" else KafkaBroker(address, "member", timeouts=QUICK)


async def _main(kind: str, address: str, topic: str, group: str, file: str) -> None:
    broker = connect(kind, address)
    member = Writing(broker, topic, group, file)
    member.file, member.pause_seconds = Path(file), 0.002
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, member.stop.set)
    await member.run(member.stop)
    await broker.close()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
    end_process()
