"""What processes cost: CPU seconds by name, including descendants that have ended, and memory."""

from collections.abc import Mapping, Sequence

import psutil

from local.supervisor import memory_of

Seconds = dict[str, float]


class Meter:
    """Named processes, each with its descendants; those named in `alone` without descendants that still run."""

    def __init__(self, pids: Mapping[str, int], alone: Sequence[str] = ()) -> None:
        self._pids, self._alone = dict(pids), alone

    def seconds(self) -> Seconds:
        """CPU seconds, of user and system, since the start of each process."""
        return {name: _seconds(psutil.Process(pid), name not in self._alone) for name, pid in self._pids.items()}

    def bytes(self) -> dict[str, int]:
        return {name: memory_of(pid, family=name not in self._alone) for name, pid in self._pids.items()}


def difference(before: Seconds, after: Seconds) -> Seconds:
    return {name: after[name] - seconds for name, seconds in before.items()}


def _seconds(process: psutil.Process, family: bool) -> float:
    """The time of a process that has ended counts for the parent that waited for it (`children_`), so none is lost.

    A process that ends while the family is read would be missed or counted twice; then all are read once more.
    """
    while True:
        members = [process, *(process.children(recursive=True) if family else [])]
        try:
            times = [member.cpu_times() for member in members]
        except psutil.NoSuchProcess:
            if not process.is_running():
                raise
            continue
        if not family or {process, *process.children(recursive=True)} == set(members):
            return sum(it.user + it.system + it.children_user + it.children_system for it in times)
