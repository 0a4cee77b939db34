"""What every server of the local system is to those who start it: prepare, start, probe, stop, explain.

A server in a program or a test of its own:

    with Valkey(folder, port) as server: ...
    async with Valkey.temporary() as server: ...       # a new folder and a free port, both gone at the end
    server.kill(); server.start()                      # the same data and port again
"""

import asyncio
import os
import random
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

from local import NAME
from local.errors import CommandError
from local.process import popen_options

_EXPLANATIONS = {
    "No space left on device": "the disk is full: free some space and start again",
    "Address already in use": "port {port} is taken by another program: stop that, or choose another port",
    "Address in use": "port {port} is taken by another program: stop that, or choose another port",
    "Cannot allocate memory": "there is not enough memory: close something and start again",
    "There is insufficient memory": "there is not enough memory: close something and start again",
}


@dataclass
class LocalServer(ABC):
    folder: Path
    port: int
    durable: bool = True  # False: what survives a crash of the process need not survive one of the machine
    name: str = "server"
    process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    waiting_for: str = field(default="", init=False, repr=False)  # what it said when it was asked last
    _temporary: bool = field(default=False, init=False, repr=False)
    _deadline: float = field(default=0, init=False, repr=False)

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    death_signal: ClassVar[signal.Signals] = signal.SIGKILL  # when the parent is gone
    start_seconds: ClassVar[float] = 30
    stop_seconds: float = field(default=10, init=False, repr=False)  # then it is killed

    @abstractmethod
    def prepare(self) -> None:
        """Whatever must exist before the first start; cheap and harmless when it does."""

    @abstractmethod
    def argv(self) -> list[str]: ...

    @abstractmethod
    def ready(self) -> bool:
        """Whether it serves right now. Quick, and never raises."""

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def user(self) -> int | None:
        return None

    def require_free_port(self) -> None:
        """Another server there would answer in this one's name."""
        if not is_free(self.port):
            raise CommandError(_EXPLANATIONS["Address in use"].format(port=self.port))

    def explain(self, log: str) -> str:
        """What to tell a person who reads that this server ended: the known cause, or its last line."""
        for symptom, explanation in _EXPLANATIONS.items():
            if symptom in log:
                return explanation.format(port=self.port)
        lines = [line.strip(" |+-") for line in log.splitlines()]  # without the lines that frame exceptions of a group
        return next((line for line in reversed(lines) if line), "it said nothing")

    @classmethod
    def temporary(cls) -> Self:
        """One in a folder that any user can reach (pytest's are closed to others) and that is removed at the end."""
        folder = Path(tempfile.mkdtemp(prefix=f"{NAME}-{cls.name}-"))
        folder.chmod(0o711)
        server = cls(folder, free_port(), durable=False)
        server._temporary = True
        return server

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        self.prepare()
        self._spawn()
        while not self._is_up():
            time.sleep(0.02)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(self.stop_signal)
        if self._temporary:
            self.remove()

    def remove(self) -> None:
        """Throw away all it has kept."""
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
            self._spawn()  # here, not in a helper thread: the child would die with that thread
            while not await asyncio.to_thread(self._is_up):  # noqa: ASYNC110  # another process sets no event
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

    def _is_up(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            code = self.process.returncode if self.process else None
            raise CommandError(f"{self.name} ended with code {code}: {self.explain(tail(self.log))}")
        if time.monotonic() > self._deadline:
            raise CommandError(
                f"{self.name} was not ready after {self.start_seconds:.0f} s: {self.explain(tail(self.log))}"
            )
        return self.ready()

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(how)
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


def tail(log: Path, size: int = 4000) -> str:
    """The end of a log, as far as it was written."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - size))
        return file.read().decode(errors="replace")


def free_port() -> int:
    """A port nobody listens on, below the range from which the kernel takes outgoing connections' ports."""
    while True:
        port = random.randint(15_000, 32_000)
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def ask(port: int, question: bytes, size: int = 512) -> bytes:
    """What a server answers within a second; nothing when it does not."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(question)
            return connection.recv(size)
    except OSError:
        return b""
