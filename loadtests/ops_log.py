"""The ops log (operation history): what the clients of a load did, as they saw it. One JSON line for each operation.

`ack`: done. `fail`: surely not done. `unknown`: no answer, or an answer of 5xx, so it may have been done.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["ack", "fail", "unknown"]


@dataclass(frozen=True)
class Operation:
    """One operation of one client."""

    name: str  # `POST /checkouts`, or a fact that takes more than one request: `order confirmed`
    journey: str
    customer: str
    began: float  # seconds since 1970
    seconds: float
    outcome: Outcome
    error: bool = False  # no journey expects this outcome here
    status: int = 0  # of HTTP; 0 without an answer
    code: str = ""  # of the problem, when it was refused
    key: str = ""  # the idempotency key
    detail: dict[str, Any] = field(default_factory=dict)  # what was asked for, and the order's id

    @property
    def ended(self) -> float:
        return self.began + self.seconds


class OpsLog:
    """Writes operations to a file of this process, each at once: Locust kills its workers at the end."""

    def __init__(self, folder: Path, worker: int) -> None:
        self._file = (folder / f"ops-{worker}.jsonl").open("w", buffering=1)

    def write(self, operation: Operation) -> None:
        self._file.write(json.dumps(vars(operation), separators=(",", ":")) + "\n")


def read_ops_logs(folder: Path) -> Iterator[Operation]:
    """The operations of all workers of a load, in no order."""
    for path in sorted(folder.glob("ops-*.jsonl")):
        with path.open() as lines:
            yield from (Operation(**json.loads(line)) for line in lines)
