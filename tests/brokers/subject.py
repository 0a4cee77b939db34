"""A broker under test: what it is able to do, who connects to it, and faults to make it suffer."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from brokers.member import Member, Spawned, connect
from brokers.proxy import Proxy
from brokers.stream import Stream, streaming
from chassis.brokers.memory import MemoryBroker
from chassis.brokers.port import Broker, StartPosition
from ledger.waiting import until
from local.kafka import Kafka
from local.pulsar import Pulsar

RESTART = "restart: a process that can die and hang, and keeps what it took"
HISTORY = "history: it keeps what was published before a group came"
MEMBERS = "members: several consumers of a group"
PROCESSES = "processes: clients in other processes"
NETWORK = "network: there is one between it and its clients"
ABLE = {"memory": frozenset[str](), "kafka": frozenset({RESTART, HISTORY, MEMBERS, PROCESSES, NETWORK})}
ABLE["pulsar"] = ABLE["kafka"]

T = TypeVar("T", bound=Callable[..., Any])


def needs(*abilities: str) -> Callable[[T], T]:
    """Leaves out the brokers that lack one of these, by name."""

    def mark(test: T) -> T:
        test.needs = abilities  # type: ignore[attr-defined]
        return test

    return mark


def with_path() -> dict[str, str]:
    """The environment of a process that imports from the tests."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


@dataclass
class Subject:
    """A broker under test, with a topic and a group that nobody else uses."""

    name: str
    folder: Path
    stack: AsyncExitStack
    server: Kafka | Pulsar | None = None
    proxy: Proxy | None = None  # through which all connect, if there is one
    memory: MemoryBroker = field(default_factory=MemoryBroker)
    topic: str = field(default_factory=lambda: f"t{uuid4().hex[:12]}.events")
    group: str = field(default_factory=lambda: f"g{uuid4().hex[:12]}")

    @property
    def address(self) -> str:
        assert self.server is not None
        address = f"127.0.0.1:{self.proxy.port if self.proxy else self.server.port}"
        return f"pulsar://{address}" if self.name == "pulsar" else address

    @property
    def settings(self) -> dict[str, str]:
        """The environment that says to a service in a process of its own where the broker is."""
        if isinstance(self.server, Pulsar):
            return {"BROKER": "pulsar", "PULSAR_URL": self.address, "PULSAR_ADMIN_URL": self.server.admin_url}
        return {"BROKER": "kafka", "KAFKA_BOOTSTRAP_SERVERS": self.address}

    def connect(self) -> Broker:
        """A connection of its own, as another process has it, closed at the end of the test."""
        broker = self.new_connection()
        self.stack.push_async_callback(broker.close)
        return broker

    def new_connection(self) -> Broker:
        """In memory there is one broker for all."""
        if self.server is None:
            return self.memory
        return connect(self.name, self.address, *([self.server.admin_url] if isinstance(self.server, Pulsar) else []))

    def stream(self) -> AbstractAsyncContextManager[Stream]:
        return streaming(self.connect().publish, self.topic)

    async def join(
        self,
        name: str,
        group: str = "",
        pause_seconds: float = 0,
        batch: int = 20,
        start: StartPosition = StartPosition.BEGINNING,
    ) -> Member:
        """A member that has joined and runs until its `stop` is set, or the test is over."""
        member = Member(self.connect(), self.topic, group or self.group, name, batch, start)
        member.pause_seconds = pause_seconds
        running = asyncio.create_task(member.run(member.stop))
        running.add_done_callback(lambda _: member.left.set())

        async def leave() -> None:
            member.stop.set()
            member.free.set()
            await running

        self.stack.push_async_callback(leave)
        await until(lambda: member.outage.reason is None, 60)
        return member

    async def spawn(self, name: str) -> Spawned:
        """A member in a process of its own, killed at the end if it still runs."""
        file = self.folder / name
        command = [sys.executable, "-m", "brokers.member", self.name, self.address, self.topic, self.group, str(file)]
        process = await asyncio.create_subprocess_exec(*command, env=with_path())

        async def end() -> None:
            if process.returncode is None:
                process.kill()
            await process.wait()

        self.stack.push_async_callback(end)
        return Spawned(process, file)

    @asynccontextmanager
    async def away(self, kill: bool = True) -> AsyncIterator[None]:
        """The broker is dead within the block, and comes back with what it had."""
        assert self.server is not None
        await asyncio.to_thread(self.server.kill if kill else self.server.stop)
        try:
            yield
        finally:
            await self.server.__aenter__()  # here, not in a helper thread: the server would die with that

    @asynccontextmanager
    async def hanging(self) -> AsyncIterator[None]:
        """The broker's process does nothing within the block, and then goes on as if nothing had been."""
        assert self.server is not None
        assert self.server.process is not None
        self.server.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.server.process.send_signal(signal.SIGCONT)
