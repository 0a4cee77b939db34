"""What is known of the system in a checkout: who runs, where, and the secrets that outlive a run.

running = local.state.running()                     # None when nothing runs
running.urls["public"], running.service_key, running.secrets["database"]["order"]
"""

import fcntl
import json
import os
import secrets
import signal
import time
from base64 import b64encode
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from local import NAME
from local.errors import CommandError
from local.server import free_port, is_free


@dataclass
class ProcessStatus:
    """A child as the supervisor sees it."""

    name: str
    port: int
    state: str = "waiting"  # preparing, starting, ready, crashed, stopped
    detail: str = ""
    pid: int | None = None
    born: float | None = None  # with the pid it names one process, also after the pid has been given anew
    restarts: int = 0
    since: float = 0


@dataclass
class RunningSystem:
    """The system that runs, for the commands that talk to it."""

    pid: int
    born: float
    broker: str
    urls: dict[str, str]  # public, internal, hooks, and one for each service and server
    service_key: str
    secrets: dict[str, Any]  # database: service -> password; carrier_webhook
    ready_seconds: float | None = None
    children: list[ProcessStatus] = field(default_factory=list)


def folder() -> Path:
    """The state folder of this checkout: that of the nearest folder above that has one, else a new one here."""
    here = Path.cwd()
    for place in (here, *here.parents):
        if (place / f".{NAME}").is_dir():
            return place / f".{NAME}"
    return here / f".{NAME}"


def running() -> RunningSystem | None:
    told = _read()
    return told if told and _lives(told.pid, told.born) else None


def write(told: RunningSystem) -> None:
    write_private(folder() / "state.json", json.dumps(asdict(told), indent=1))


def write_private(path: Path, text: str) -> None:
    """For the owner's eyes, and never half written."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(text)
    unfinished.replace(path)


def claim() -> IO[str]:
    """The right to run here; it ends with the file that is returned, so also with kill -9."""
    folder().mkdir(parents=True, exist_ok=True)
    file = (folder() / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise CommandError(already_running()) from error
    return file


def already_running() -> str:
    told = running()
    if told is None:
        return f"another start or reset is under way in {folder().parent}: wait for it"
    ports = ", ".join(f"{child.name} {child.port}" for child in told.children)
    return f"already running here as process {told.pid} ({ports}): stop that first, `kill {told.pid}` or Ctrl-C there"


def end_leftovers() -> list[str]:
    """End what a killed run has left behind, where the kernel does not do that. Returns the names."""
    told = _read()
    left = [child for child in (told.children if told else []) if child.pid and _lives(child.pid, child.born)]
    deadline = time.monotonic() + 5
    for child in left:
        assert child.pid
        os.kill(child.pid, signal.SIGQUIT if child.name == "postgres" else signal.SIGKILL)
        while _lives(child.pid, child.born) and time.monotonic() < deadline:
            time.sleep(0.05)
    return [child.name for child in left]


def forget() -> None:
    (folder() / "state.json").unlink(missing_ok=True)


class LocalState:
    """Secrets and ports that stay the same from run to run."""

    def __init__(self) -> None:
        self._path = folder() / "kept.json"
        self.values: dict[str, Any] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def secret(self, name: str) -> str:
        return str(self.values.setdefault(name, b64encode(secrets.token_bytes(32)).decode()))

    def password(self, name: str) -> str:
        return str(self.values.setdefault("database", {}).setdefault(name, secrets.token_urlsafe(16)))

    def port(self, name: str) -> int:
        """The one it had, unless somebody has taken it meanwhile."""
        ports = self.values.setdefault("ports", {})
        if not is_free(ports.get(name, 0)) or name not in ports:
            ports[name] = free_port()
        return int(ports[name])

    def write(self) -> None:
        write_private(self._path, json.dumps(self.values, indent=1))


def _read() -> RunningSystem | None:
    try:
        values = json.loads((folder() / "state.json").read_text())
        return RunningSystem(**values | {"children": [ProcessStatus(**child) for child in values["children"]]})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _lives(pid: int, born: float | None) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - (born or 0)) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
