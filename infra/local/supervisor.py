"""Supervises child processes: starts them, reports their state, restarts them after a crash, stops them in order.

Why our own: honcho stops everything when one child ends and has no readiness; supervisor and circus restart, but they
know neither a readiness that each server reports itself nor children that die together with a killed parent, and both
bring a daemon with a control socket. Needed is one asyncio process that waits for exits and otherwise sleeps.
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
from local.server import LocalServer, read_tail
from local.state import ProcessStatus

STOP_SECONDS = 9.5  # for all children together; what still runs then is killed
MAX_FAILED_STARTS = 3  # in a row, of a child that was never ready: then the run ends
_STABLE_SECONDS = 30  # after this time without a crash, the next crash counts as the first
_LOG_BYTES = 10_000_000


class ManagedProcess:
    """A server, and the process in which it runs at the moment."""

    def __init__(self, server: LocalServer, log: Path) -> None:
        self.server, self.log = server, log
        self.status = ProcessStatus(server.name, server.port)
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
        self.status.pid = self.process.pid
        with suppress(psutil.NoSuchProcess):  # the process has ended already
            self.status.create_time = psutil.Process(self.process.pid).create_time()
        return self.process


class Supervisor:
    """Runs in one event loop. `changed` is called with each child whose state has changed."""

    def __init__(self, logs: Path, changed: Callable[[ManagedProcess], None]) -> None:
        self.children: list[ManagedProcess] = []
        # Done when a stop was requested; failed when a child does not start.
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._logs, self._changed = logs, changed
        self._groups: list[list[ManagedProcess]] = []
        self._tasks: list[asyncio.Task[None]] = []
        logs.mkdir(parents=True, exist_ok=True)

    def launch(self, *servers: LocalServer) -> None:
        """Start a group of servers and supervise them. Groups are stopped in reverse order of their launch."""
        group = [ManagedProcess(server, self._log_path(server.name)) for server in servers]
        self._groups.append(group)
        self.children += group
        self._tasks += [asyncio.create_task(self._supervise(child)) for child in group]

    async def wait_until_ready(self, *names: str) -> None:
        """Wait for these children, or for all. Raises CommandError if one does not start, CancelledError on a stop."""
        for child in [it for it in self.children if not names or it.server.name in names]:
            ready = asyncio.create_task(child.ready.wait())
            either: list[asyncio.Future[Any]] = [ready, self.finished]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self.finished.done():
                ready.cancel()
                self.finished.result()
                raise asyncio.CancelledError

    def request_stop(self) -> None:
        """The first request stops the children in order; the second kills them at once."""
        if not self.finished.done():
            self.finished.set_result(None)
        else:
            for child in self.children:
                if child.process and child.process.returncode is None:
                    child.process.kill()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        end = time.monotonic() + STOP_SECONDS
        for groups_left, group in reversed(list(enumerate(self._groups))):
            seconds = end - time.monotonic() - groups_left  # leaves a second for each group that follows
            await asyncio.gather(*(self._stop(child, seconds) for child in group))

    async def _stop(self, child: ManagedProcess, seconds: float) -> None:
        process, detail = child.process, ""
        if process is not None and process.returncode is None:
            process.send_signal(child.server.stop_signal)
            try:
                await asyncio.wait_for(process.wait(), seconds)
            except TimeoutError:
                detail = "killed, because it did not stop in time"
                process.kill()
                await process.wait()
        self._set_state(child, "stopped", detail)

    async def _supervise(self, child: ManagedProcess) -> None:
        try:
            while True:
                reason = await self._run_once(child)
                child.crashes += 1
                if child.crashes >= MAX_FAILED_STARTS and not child.ever_ready:
                    raise CommandError(f"{child.server.name} does not start: {reason}")
                pause = min(15.0, 0.5 * 2 ** (child.crashes - 1)) * random.uniform(0.5, 1.5)
                self._set_state(child, "crashed", f"{reason}; restart in {pause:.1f} s")
                await asyncio.sleep(pause)
                child.status.restarts += 1
        except Exception as error:
            if not self.finished.done():
                self.finished.set_exception(error)

    async def _run_once(self, child: ManagedProcess) -> str:
        """One process of a child, from its preparation to its end. Returns why the process ended."""
        self._set_state(child, "preparing")
        started, log_size = time.monotonic(), child.log.stat().st_size if child.log.exists() else 0
        try:
            process = await child.spawn()
        except (OSError, CommandError) as error:
            return str(error)
        probing = asyncio.create_task(self._watch_readiness(child))
        try:
            code = await process.wait()
        finally:
            probing.cancel()
            child.ready.clear()
        if time.monotonic() - started > _STABLE_SECONDS:
            child.crashes = 0
        if code < 0:
            return f"killed by signal {-code}"
        output = await asyncio.to_thread(read_tail, child.log, child.log.stat().st_size - log_size)
        return f"ended with code {code}: {child.server.explain_failure(output[-4000:])} (more in {child.log})"

    async def _watch_readiness(self, child: ManagedProcess) -> None:
        self._set_state(child, "starting")
        pause, late = 0.05, time.monotonic() + child.server.start_seconds
        while not await asyncio.to_thread(child.server.ready):
            if child.status.detail != child.server.waiting_for:
                self._set_state(child, "starting", child.server.waiting_for)
            if time.monotonic() > late and not child.ever_ready and not self.finished.done():
                why = child.server.waiting_for or "it does not answer"
                seconds = child.server.start_seconds
                error = CommandError(f"{child.server.name} is not ready after {seconds:.0f} s: {why}")
                self.finished.set_exception(error)
            await asyncio.sleep(pause)
            pause = min(1.0, pause * 1.2)
        child.ever_ready = True
        child.ready.set()
        self._set_state(child, "ready")

    def _set_state(self, child: ManagedProcess, state: str, detail: str = "") -> None:
        if state != child.status.state:
            child.status.since = time.time()
        child.status.state, child.status.detail = state, detail
        if state in ("crashed", "stopped"):
            child.status.pid = child.status.create_time = None
        self._changed(child)

    def _log_path(self, name: str) -> Path:
        log = self._logs / f"{name}.log"
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        return log


def memory_of(pid: int | None, family: bool = True) -> int:
    """Bytes of a process and its descendants. Shared memory is divided among its users (PSS) where the system can."""
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
