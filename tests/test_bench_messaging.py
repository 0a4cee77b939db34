"""`make bench-messaging` in small: its tables, and that it ends in one line when a message is lost."""

import subprocess
import sys
from collections.abc import Sequence

import pytest

from loadtests.clients import Record
from loadtests.messaging import measure
from loadtests.messaging.hand_written import HandWrittenPath
from loadtests.messaging.measure import BenchFailed, MessagingBench
from loadtests.messaging.service import handled
from local.postgres import Postgres

PRINTED = ["messages/s", "CPU-ms/1000", "chassis", "by hand", "client", "commit → handler", "relay", "before 500 rows"]


def run(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "loadtests.messaging", *options], capture_output=True, text=True)


@pytest.mark.parametrize(
    "broker", ["memory", *(pytest.param(it, marks=pytest.mark.long) for it in ("kafka", "pulsar"))]
)
def test_it_measures_every_way_on_every_broker(broker: str) -> None:
    small = {"brokers": broker, "batches": "16", "messages": "50", "warm-up": "20", "backlog": "500"}
    done = run(*(f"--{name}={value}" for name, value in small.items()))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [word for word in [broker, *PRINTED] if word not in done.stdout] == []
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("--brokers=kafka,rabbit", "rabbit: not one of memory, kafka, pulsar"),
        ("--batches=16,many", "16,many: not numbers from 1, with commas"),
    ],
)
def test_what_it_does_not_know_is_named(option: str, complaint: str) -> None:
    done = run(option)
    assert done.returncode == 2
    assert complaint in done.stderr


class LosesTheFirst(HandWrittenPath):
    """Handles all but the first message of a batch."""

    async def handle(self, records: Sequence[Record]) -> None:
        await super().handle(records[1:])
        handled.add()


async def test_a_message_that_makes_no_row_ends_it_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "COMMIT_SECONDS", 0.1)
    with Postgres.temporary() as postgres:
        bench = MessagingBench(postgres, "memory")
        with pytest.raises(BenchFailed, match=r"\d+ rows of 100 messages"):
            await bench.throughput(LosesTheFirst, 10, 90, 10)
