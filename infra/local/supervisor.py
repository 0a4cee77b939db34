"""Keeps children alive: starts them, tells how they do, starts them anew when they crash, stops them in order.

Why our own: honcho stops everything when one child ends and knows no readiness; supervisor and circus restart, but know
neither readiness that a server tells itself nor the death of children with a killed parent, and bring a daemon with a
control socket. What is needed is one asyncio process that waits for exits and otherwise sleeps.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from local.errors import CommandError
from local.process import popen_options
from local.server import LocalServer, tail
from local.state import ProcessStatus

STOP_SECONDS = 9.5  # for all; what is left then is killed
GIVE_UP_AFTER = 3  # ends in a row of a child that was never ready
_CALM_SECONDS = 30  # after so long without a crash the next one counts as the first
_LOG_BYTES = 10_000_000


class ManagedProcess:
    """A server, and the process in which it runs just now."""

    def __init__(self, server: LocalServer, log: Path) -> None:
        self.server, self.log = server, log
        self.told = ProcessStatus(server.name, server.port)
        self.process: asyncio.subprocess.Process | None = None
        self.ready = asyncio.Event()
        self.ever_ready = False
        self.crashes = 0  # in a row

    async def spawn(self) -> asyncio.subprocess.Process:
        await asyncio.to_thread(self.server.prepare)
        self.server.require_free_port()
        with self.log.open("ab") as log:
            server = self.server
            options = popen_options(log, server.environment(), server.user(), server.death_signal)
            self.process = await asyncio.create_subprocess_exec(*server.argv(), **options)
        self.told.pid = self.process.pid
        with suppress(psutil.NoSuchProcess):  # dead already
            self.told.born = psutil.Process(self.process.pid).create_time()
        return self.process


class Supervisor:
    def __init__(self, logs: Path, changed: Callable[[ManagedProcess], None]) -> None:
        self.children: list[ManagedProcess] = []
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # asked to stop, or given up
        self._logs, self._changed = logs, changed
        self._groups: list[list[ManagedProcess]] = []
        self._keepers: list[asyncio.Task[None]] = []
        logs.mkdir(parents=True, exist_ok=True)

    def launch(self, *servers: LocalServer) -> None:
        """Start these and keep them. They are stopped together, before all that was launched earlier."""
        group = [ManagedProcess(server, self._log(server.name)) for server in servers]
        self._groups.append(group)
        self.children += group
        self._keepers += [asyncio.create_task(self._keep(child)) for child in group]

    async def until_ready(self, *names: str) -> None:
        """Wait for these children, or all; raise CommandError when one gave up, CancelledError when asked to stop."""
        for child in [it for it in self.children if not names or it.server.name in names]:
            ready = asyncio.create_task(child.ready.wait())
            either: list[asyncio.Future[Any]] = [ready, self.over]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self.over.done():
                ready.cancel()
                self.over.result()
                raise asyncio.CancelledError

    def ask_to_stop(self) -> None:
        """The second time it is asked, it does not wait for anybody."""
        if not self.over.done():
            self.over.set_result(None)
        else:
            for child in self.children:
                if child.process and child.process.returncode is None:
                    child.process.kill()

    async def stop(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        end = time.monotonic() + STOP_SECONDS
        for left, group in reversed(list(enumerate(self._groups))):
            patience = end - time.monotonic() - left  # a second for each group that comes after
            await asyncio.gather(*(self._stop(child, patience) for child in group))

    async def _stop(self, child: ManagedProcess, patience: float) -> None:
        process = child.process
        if process is not None and process.returncode is None:
            process.send_signal(child.server.stop_signal)
            try:
                await asyncio.wait_for(process.wait(), patience)
            except TimeoutError:
                process.kill()
                await process.wait()
        self._tell(child, "stopped")

    async def _keep(self, child: ManagedProcess) -> None:
        try:
            while True:
                reason = await self._live(child)
                child.crashes += 1
                if child.crashes >= GIVE_UP_AFTER and not child.ever_ready:
                    raise CommandError(f"{child.server.name} does not start: {reason}")
                pause = min(15.0, 0.5 * 2 ** (child.crashes - 1)) * random.uniform(0.5, 1.5)
                self._tell(child, "crashed", f"{reason}; again in {pause:.1f} s")
                await asyncio.sleep(pause)
                child.told.restarts += 1
        except Exception as error:
            if not self.over.done():
                self.over.set_exception(error)

    async def _live(self, child: ManagedProcess) -> str:
        """One life of a child, from its preparation to its end; returns why it ended."""
        self._tell(child, "preparing")
        started, written = time.monotonic(), child.log.stat().st_size if child.log.exists() else 0
        try:
            process = await child.spawn()
        except (OSError, CommandError) as error:
            return str(error)
        probing = asyncio.create_task(self._until_ready(child))
        try:
            code = await process.wait()
        finally:
            probing.cancel()
            child.ready.clear()
        if time.monotonic() - started > _CALM_SECONDS:
            child.crashes = 0
        said = await asyncio.to_thread(tail, child.log, child.log.stat().st_size - written)
        how = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return how if code < 0 else f"{how}: {child.server.explain(said[-4000:])} (more in {child.log})"

    async def _until_ready(self, child: ManagedProcess) -> None:
        self._tell(child, "starting")
        pause, late = 0.05, time.monotonic() + child.server.start_seconds
        while not await asyncio.to_thread(child.server.ready):
            if child.told.detail != child.server.waiting_for:
                self._tell(child, "starting", child.server.waiting_for)
            if time.monotonic() > late and not child.ever_ready and not self.over.done():
                why = child.server.waiting_for or "it does not answer"
                seconds = child.server.start_seconds
                self.over.set_exception(CommandError(f"{child.server.name} is not ready after {seconds:.0f} s: {why}"))
            await asyncio.sleep(pause)
            pause = min(1.0, pause * 1.2)
        child.ever_ready = True
        child.ready.set()
        self._tell(child, "ready")

    def _tell(self, child: ManagedProcess, state: str, detail: str = "") -> None:
        if state != child.told.state:
            child.told.since = time.time()
        child.told.state, child.told.detail = state, detail
        if state in ("crashed", "stopped"):
            child.told.pid = child.told.born = None
        self._changed(child)

    def _log(self, name: str) -> Path:
        log = self._logs / f"{name}.log"
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        return log


def memory_of(pid: int | None, family: bool = True) -> int:
    """Of a process and its own children; what several share is split among them (PSS) where the system can say that."""
    try:
        process = psutil.Process(pid) if pid else None
        members = [process, *(process.children(recursive=True) if family else [])] if process else []
    except psutil.NoSuchProcess:
        return 0
    return sum(_memory(member) for member in members)


def _memory(process: psutil.Process) -> int:
    try:
        info = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(info, "pss", info.rss))
