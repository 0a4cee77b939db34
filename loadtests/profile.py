"""The functions in which the services spend CPU, sampled by py-spy while orders are measured."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from loadtests.shop import Shop

PER_SECOND = 100
TOP = 10
# Functions in which a thread waits, though py-spy may count it as running: asyncio's loop and threads, uvloop's loop.
IDLE = ("select (selectors.py", "wait (threading.py", "run (asyncio/runners.py")
Stack = tuple[str, ...]  # functions, the outermost first


@dataclass
class Profile:
    """How often each stack of a process was sampled while it ran."""

    name: str
    stacks: Counter[Stack] = field(default_factory=Counter)

    @property
    def samples(self) -> int:
        return self.stacks.total()

    def own(self) -> list[tuple[str, int]]:
        """The functions that ran most often."""
        return self._top(lambda stack: stack[-1:])

    def whole(self) -> list[tuple[str, int]]:
        """The functions of chassis and service that were most often on the stack."""
        return self._top(lambda stack: {it for it in stack if "(chassis/" in it or f"({self.name}/" in it})

    def _top(self, select: Callable[[Stack], Iterable[str]]) -> list[tuple[str, int]]:
        counts: Counter[str] = Counter()
        for stack, count in self.stacks.items():
            counts.update(dict.fromkeys(select(stack), count))
        return counts.most_common(TOP)


class Sampler:
    """Samples the Python processes inside `with sampler:`; profiles add up over several uses. Idle unless `on`."""

    def __init__(self, shop: Shop, on: bool) -> None:
        pids = {name: shop.pid(name) for name in [*shop.services, "simulators"]}
        self._pids = pids if on else {}
        self._profiles = {name: Profile(name) for name in self._pids}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def profiles(self) -> list[Profile]:
        return list(self._profiles.values())

    def __enter__(self) -> None:
        self._files = TemporaryDirectory(prefix="profile-")
        py_spy = str(Path(sys.executable).with_name("py-spy"))
        options = ["--nonblocking", "--function", "--format", "raw", "--rate", str(PER_SECOND)]
        for name, pid in self._pids.items():
            command = [py_spy, "record", *options, "--output", str(self._file(name)), "--pid", str(pid)]
            self._running[name] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if self._running:
            time.sleep(1)  # py-spy does not report when it begins

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGINT)
        for name, process in self._running.items():
            process.wait()
            self._profiles[name].stacks += _stacks(self._file(name))
        self._running.clear()
        self._files.cleanup()

    def _file(self, name: str) -> Path:
        return Path(self._files.name) / name


def _stacks(raw: Path) -> Counter[Stack]:
    """py-spy's raw format: on each line the functions of a stack, a blank, and the number of samples."""
    found: Counter[Stack] = Counter()
    for line in raw.read_text().splitlines():
        functions, _, count = line.rpartition(" ")
        if not any(idle in functions.rpartition(";")[2] for idle in IDLE):
            found[tuple(functions.split(";"))] += int(count)
    return found
