"""The state folder of a checkout: which system runs, and the secrets and ports that stay the same from run to run.

system = local.state.running_system()                     # None when nothing runs
system.urls["public"], system.service_key, system.secrets["database"]["order"]
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

from chassis.process.ports import reserve_port
from local import NAME
from local.errors import CommandError
from local.server import is_port_free


@dataclass
class ProcessStatus:
    """The state of a child process, as the supervisor knows it."""

    name: str
    port: int
    state: str = "waiting"  # preparing, starting, ready, crashed, stopped
    detail: str = ""
    pid: int | None = None
    create_time: float | None = None  # pid and create_time together name one process: the system reuses pids
    restarts: int = 0
    since: float = 0


@dataclass
class RunningSystem:
    """The system that runs, for the commands that talk to it."""

    pid: int
    create_time: float
    broker: str
    urls: dict[str, str]  # public, internal, hooks, and one for each service and server
    service_key: str
    secrets: dict[str, Any]  # database: service -> password; carrier_webhook
    ready_seconds: float | None = None
    children: list[ProcessStatus] = field(default_factory=list)


def folder() -> Path:
    """The state folder: of the current folder or the nearest folder above that has one, else a new one here."""
    here = Path.cwd()
    for candidate in (here, *here.parents):
        if (candidate / f".{NAME}").is_dir():
            return candidate / f".{NAME}"
    return here / f".{NAME}"


def running_system() -> RunningSystem | None:
    system = _read_running_system()
    return system if system and _is_alive(system.pid, system.create_time) else None


def write_running_system(system: RunningSystem) -> None:
    write_private(folder() / "running.json", json.dumps(asdict(system), indent=1))


def remove_running_system() -> None:
    (folder() / "running.json").unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, and that other processes never see half written."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(text)
    unfinished.replace(path)


def lock_folder() -> IO[str]:
    """Lock the state folder for this process. The lock ends with the returned file, and so also with kill -9."""
    folder().mkdir(parents=True, exist_ok=True)
    file = (folder() / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise CommandError(already_running_message()) from error
    return file


def already_running_message() -> str:
    system = running_system()
    if system is None:
        return f"another start or reset is in progress in {folder().parent}: wait until it has ended"
    ports = ", ".join(f"{child.name} {child.port}" for child in system.children)
    how = f"stop that process first, with `kill {system.pid}` or Ctrl-C in its terminal"
    return f"already running here as process {system.pid} ({ports}): {how}"


def kill_leftover_processes() -> list[str]:
    """End the children of a killed run, where the kernel does not end them. Returns their names."""
    system = _read_running_system()
    left = [child for child in (system.children if system else []) if _is_alive_child(child)]
    deadline = time.monotonic() + 5
    for child in left:
        assert child.pid
        os.kill(child.pid, signal.SIGQUIT if child.name == "postgres" else signal.SIGKILL)
        while _is_alive_child(child) and time.monotonic() < deadline:
            time.sleep(0.05)
    return [child.name for child in left]


class LocalState:
    """Secrets and ports that stay the same from run to run."""

    def __init__(self) -> None:
        self._path = folder() / "local_state.json"
        self.values: dict[str, Any] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def secret(self, name: str) -> str:
        return str(self.values.setdefault(name, b64encode(secrets.token_bytes(32)).decode()))

    def password(self, name: str) -> str:
        return str(self.values.setdefault("database", {}).setdefault(name, secrets.token_urlsafe(16)))

    def port(self, name: str) -> int:
        """The port of the last run, or a new one if another program has taken that port meanwhile."""
        ports = self.values.setdefault("ports", {})
        if not is_port_free(ports.get(name, 0)) or name not in ports:
            ports[name] = reserve_port()
        return int(ports[name])

    def write(self) -> None:
        write_private(self._path, json.dumps(self.values, indent=1))


def _read_running_system() -> RunningSystem | None:
    try:
        values = json.loads((folder() / "running.json").read_text())
        return RunningSystem(**values | {"children": [ProcessStatus(**child) for child in values["children"]]})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _is_alive_child(child: ProcessStatus) -> bool:
    return child.pid is not None and _is_alive(child.pid, child.create_time)


def _is_alive(pid: int, create_time: float | None) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - (create_time or 0)) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
