"""The brokers on which the conformance suite runs, what each is able to do, and faults to make them suffer."""

import asyncio
import inspect
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from brokers.member import Member, connect
from chassis.messaging.broker import Broker
from chassis.messaging.memory import MemoryBroker
from ledger.waiting import until
from local.kafka import Kafka
from local.pulsar import Pulsar
from local.server import free_port

RESTART = "restart: it keeps what it took when its process dies"
HISTORY = "history: it keeps what was published before a group came"
MEMBERS = "members: several consumers of a group"
PROCESSES = "processes: consumers in other processes"
ABLE = {"memory": frozenset[str](), "kafka": frozenset({RESTART, HISTORY, MEMBERS, PROCESSES})}
ABLE["pulsar"] = ABLE["kafka"]

T = TypeVar("T", bound=Callable[..., Any])


def needs(*abilities: str) -> Callable[[T], T]:
    """Leaves out the brokers that lack one of these, by name."""

    def mark(test: T) -> T:
        test.needs = abilities  # type: ignore[attr-defined]
        return test

    return mark


@dataclass
class Subject:
    """A broker under test, with a topic and a group that nobody else uses."""

    name: str
    server: Kafka | Pulsar | None
    stack: AsyncExitStack
    memory: MemoryBroker = field(default_factory=MemoryBroker)
    topic: str = field(default_factory=lambda: f"t{uuid4().hex[:12]}.events")
    group: str = "first"

    @property
    def address(self) -> str:
        assert self.server is not None
        return self.server.url if isinstance(self.server, Pulsar) else self.server.address

    def connect(self) -> Broker:
        """A connection of its own, as another process has it. In memory there is one broker for all."""
        if self.server is None:
            return self.memory
        broker = connect(self.name, self.address)
        self.stack.push_async_callback(broker.close)
        return broker

    async def join(self, name: str, group: str = "", pause_seconds: float = 0, batch: int = 20) -> Member:
        """A member that has joined and runs until its `stop` is set, or the test is over."""
        member = Member(self.connect(), self.topic, group or self.group, name, batch)
        member.pause_seconds = pause_seconds
        running = asyncio.create_task(member.run(member.stop))

        async def leave() -> None:
            member.stop.set()
            await running

        self.stack.push_async_callback(leave)
        await until(lambda: member.trouble.reason is None, 30)
        return member

    async def spawn(self, file: Path) -> Process:
        """A member in a process of its own, killed at the end if it still runs."""
        command = [sys.executable, "-m", "brokers.member", self.name, self.address, self.topic, self.group, str(file)]
        environment = {"PYTHONPATH": str(Path(__file__).parent.parent)}
        process = await asyncio.create_subprocess_exec(*command, env=environment)

        async def end() -> None:
            if process.returncode is None:
                process.kill()
            await process.wait()

        self.stack.push_async_callback(end)
        return process

    @asynccontextmanager
    async def away(self, kill: bool = True) -> AsyncIterator[None]:
        """The broker is dead within the block, and comes back with what it had."""
        assert self.server is not None
        await asyncio.to_thread(self.server.kill if kill else self.server.stop)
        try:
            yield
        finally:
            await self.server.__aenter__()  # here, not in a helper thread: the server would die with that


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Kafka | Pulsar]]:
    """Started when the first test asks."""
    started: dict[str, Kafka | Pulsar] = {}
    with ExitStack() as stack:

        def server(name: str) -> Kafka | Pulsar:
            if name not in started:
                kind = Kafka if name == "kafka" else Pulsar
                started[name] = kind(tmp_path_factory.mktemp(name), free_port(), durable=False)
                stack.enter_context(started[name])
            return started[name]

        yield server


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ABLE])
async def broker(request: pytest.FixtureRequest, servers: Callable[[str], Kafka | Pulsar]) -> AsyncIterator[Subject]:
    name = request.param
    for ability in getattr(inspect.unwrap(request.function), "needs", ()):
        if ability not in ABLE[name]:
            pytest.skip(f"{name} has not the ability {ability}")
    async with AsyncExitStack() as stack:
        yield Subject(name, None if name == "memory" else servers(name), stack)
