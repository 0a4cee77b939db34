"""A consumer of a group that notes what it gets; as a process, which can be killed:

python -m brokers.member BROKER ADDRESS TOPIC GROUP FILE      # a line for each message, then its acknowledgement
"""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from chassis.consumer import Consumer
from chassis.messaging.broker import Broker
from chassis.messaging.kafka import KafkaBroker
from chassis.messaging.message import Envelope
from chassis.messaging.pulsar import PulsarBroker


@dataclass(frozen=True)
class Handled:
    """That a member had this message, and when. Monotonic seconds, comparable between processes."""

    member: str
    key: str
    number: int
    began: float
    ended: float


class Member(Consumer):
    """The chassis' loop of receiving and acknowledging, without a database: messages take a while and are noted."""

    def __init__(self, broker: Broker, topic: str, group: str, name: str, batch: int = 20) -> None:
        service, topics = SimpleNamespace(service=group), SimpleNamespace(topics=[topic])
        super().__init__(cast(Any, service), broker, cast(Any, topics), batch)
        self.name, self.broker = name, broker
        self.pause_seconds = 0.0
        self.handled: list[Handled] = []
        self.stop, self.free = asyncio.Event(), asyncio.Event()
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


def read(file: Path) -> list[Handled]:
    """What a process has noted so far."""
    lines = file.read_text().splitlines() if file.exists() else []
    parts = [line.split() for line in lines]
    return [Handled(file.name, key, int(number), float(began), float(ended)) for key, number, began, ended in parts]


def in_order(handled: Iterable[Handled]) -> dict[str, list[int]]:
    """The numbers of each key as they were handled first: what is left when an inbox drops the doubles."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for it in sorted(handled, key=lambda it: it.ended):
        if it.number not in numbers[it.key]:
            numbers[it.key].append(it.number)
    return dict(numbers)


def overlaps(handled: Iterable[Handled]) -> list[tuple[Handled, Handled]]:
    """Where two members had messages of one key at the same time."""
    found, last = [], dict[str, Handled]()
    for it in sorted(handled, key=lambda it: it.began):
        before = last.get(it.key)
        if before and before.member != it.member and before.ended > it.began:
            found.append((before, it))
        if before is None or it.ended > before.ended:
            last[it.key] = it
    return found


def connect(kind: str, address: str) -> Broker:
    return PulsarBroker(address) if kind == "pulsar" else KafkaBroker(address, "member")


async def _main(kind: str, address: str, topic: str, group: str, file: str) -> None:
    member = Writing(connect(kind, address), topic, group, file)
    member.file, member.pause_seconds = Path(file), 0.002
    await member.run(member.stop)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
