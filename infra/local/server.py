"""The base of every server of the local system: prepare, start, probe, stop, and explain a failure.

A server in a program or a test of its own:

    with Valkey(folder, port) as server: ...
    async with Valkey.temporary() as server: ...       # a new folder and a free port, both gone at the end
    server.kill(); server.start()                      # the same data and port again
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

from chassis.process.ports import reserve_port
from local import NAME
from local.errors import CommandError
from local.process import popen_options

_EXPLANATIONS = {
    "No space left on device": "the disk is full: free some space and start again",
    "Address already in use": "port {port} is taken by another program: stop that program, or choose another port",
    "Address in use": "port {port} is taken by another program: stop that program, or choose another port",
    "Cannot allocate memory": "there is not enough memory: close other programs and start again",
    "There is insufficient memory": "there is not enough memory: close other programs and start again",
}


@dataclass
class LocalServer(ABC):
    folder: Path
    port: int
    durable: bool = True  # False: data must survive a crash of the process, but not of the machine
    name: str = "server"
    process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    waiting_for: str = field(default="", init=False, repr=False)  # the reasons that the last readiness probe gave
    _temporary: bool = field(default=False, init=False, repr=False)
    _deadline: float = field(default=0, init=False, repr=False)

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    death_signal: ClassVar[signal.Signals] = signal.SIGKILL  # sent by the kernel when the parent is gone
    start_seconds: ClassVar[float] = 90  # on a busy machine
    stop_seconds: float = field(default=10, init=False, repr=False)  # after that the process is killed

    @abstractmethod
    def prepare(self) -> None:
        """Create what must exist before a start. Cheap and harmless when all exists already."""

    @abstractmethod
    def argv(self) -> list[str]: ...

    @abstractmethod
    def ready(self) -> bool:
        """Whether the server serves right now. Quick, and never raises."""

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def user(self) -> int | None:
        return None

    def require_free_port(self) -> None:
        """Raise if another program listens on the port: its answers would be taken for this server's."""
        if not is_port_free(self.port):
            raise CommandError(_EXPLANATIONS["Address in use"].format(port=self.port))

    def explain_failure(self, log: str) -> str:
        """Why the server ended, for its operator: a known cause that its log shows, or the last line of the log."""
        for symptom, explanation in _EXPLANATIONS.items():
            if symptom in log:
                return explanation.format(port=self.port)
        lines = [line.strip(" |+-") for line in log.splitlines()]  # without the frame that exception groups have
        return next((line for line in reversed(lines) if line), "its log is empty")

    @classmethod
    def temporary(cls) -> Self:
        """A server in a temporary folder that every user can reach (unlike pytest's); `stop` removes the folder."""
        folder = Path(tempfile.mkdtemp(prefix=f"{NAME}-{cls.name}-"))
        folder.chmod(0o711)
        server = cls(folder, reserve_port(), durable=False)
        server._temporary = True
        return server

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        self.prepare()
        self._spawn()
        while not self._has_started():
            time.sleep(0.02)

    def kill(self) -> None:
        self._terminate(signal.SIGKILL)

    def stop(self) -> None:
        self._terminate(self.stop_signal)
        if self._temporary:
            self.remove()

    def remove(self) -> None:
        """Delete all data of the server."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        with self._stopped_on_failure():
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        with self._stopped_on_failure():
            await asyncio.to_thread(self.prepare)
            self._spawn()  # in this thread: the child would die together with a helper thread
            while not await asyncio.to_thread(self._has_started):  # noqa: ASYNC110  # another process sets no event
                await asyncio.sleep(0.02)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    def _spawn(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.require_free_port()
        with self.log.open("ab") as log:
            options = popen_options(log, self.environment(), self.user(), self.death_signal)
            self.process = subprocess.Popen(self.argv(), **options)
        self._deadline = time.monotonic() + self.start_seconds

    def _has_started(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            code = self.process.returncode if self.process else None
            raise CommandError(f"{self.name} ended with code {code}: {self.explain_failure(read_tail(self.log))}")
        if time.monotonic() > self._deadline:
            reason = self.explain_failure(read_tail(self.log))
            raise CommandError(f"{self.name} was not ready after {self.start_seconds:.0f} s: {reason}")
        return self.ready()

    def _terminate(self, signal_: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal_)
        try:
            process.wait(timeout=self.stop_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @contextmanager
    def _stopped_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.stop()
            raise


def read_tail(log: Path, size: int = 4000) -> str:
    """The end of a log file; empty if there is no file."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - size))
        return file.read().decode(errors="replace")


def is_port_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def send_and_receive(port: int, request: bytes, size: int = 512) -> bytes:
    """The answer of a server to some bytes; empty if there is none within a second."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(request)
            return connection.recv(size)
    except OSError:
        return b""
