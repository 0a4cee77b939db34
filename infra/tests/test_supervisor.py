"""The supervisor: a crashed child is restarted, one that never starts ends the run, none outlives the parent."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from chassis.process.ports import reserve_port
from local import supervisor as supervisor_module
from local.errors import CommandError
from local.server import LocalServer
from local.supervisor import Supervisor
from local.valkey import Valkey

from .waiting import wait_until


@dataclass
class Script(LocalServer):
    """A shell script. It is ready when it has created the file `up`."""

    text: str = ""

    def prepare(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.up.unlink(missing_ok=True)

    def argv(self) -> list[str]:
        return ["sh", "-c", self.text.replace("UP", str(self.up))]

    def ready(self) -> bool:
        return self.up.exists()

    @property
    def up(self) -> Path:
        return self.folder / f"{self.name}.up"


@asynccontextmanager
async def supervising(folder: Path, *groups: list[LocalServer]) -> AsyncIterator[tuple[Supervisor, list[str]]]:
    states: list[str] = []
    supervisor = Supervisor(folder / "logs", lambda child: states.append(f"{child.status.name} {child.status.state}"))
    for group in groups:
        supervisor.launch(*group)
    try:
        yield supervisor, states
    finally:
        await supervisor.stop()


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_a_killed_child_is_restarted_on_its_port(tmp_path: Path) -> None:
    async with supervising(tmp_path, [Valkey(tmp_path / "valkey", reserve_port())]) as (supervisor, states):
        await supervisor.wait_until_ready()
        child = supervisor.children[0]
        first, port = child.status.pid, child.status.port
        assert first
        os.kill(first, signal.SIGKILL)
        await wait_until(lambda: child.status.state == "crashed")
        assert "killed by signal 9" in child.status.detail
        await supervisor.wait_until_ready()
        assert (child.status.restarts, child.status.port) == (1, port)
        assert child.status.pid != first
    expected = ["preparing", "starting", "ready", "crashed", "preparing", "starting", "ready", "stopped"]
    assert states == [f"valkey {state}" for state in expected]


async def test_pauses_grow_from_crash_to_crash(tmp_path: Path) -> None:
    script = Script(tmp_path / "it", reserve_port(), name="it", text="touch UP; sleep 0.3; exit 3")
    async with supervising(tmp_path, [script]) as (supervisor, _):
        child = supervisor.children[0]
        await wait_until(lambda: child.crashes == 1 and child.status.state == "crashed")
        assert 0.2 <= float(child.status.detail.split()[-2]) <= 0.8
        await wait_until(lambda: child.crashes == 3 and child.status.state == "crashed")
        assert 1.0 <= float(child.status.detail.split()[-2]) <= 3.0
        assert not supervisor.finished.done(), "a child that was ready once does not end the run"


async def test_a_child_that_never_starts_ends_the_run_with_the_last_line_of_its_log(tmp_path: Path) -> None:
    script = Script(tmp_path / "it", reserve_port(), name="it", text="echo no module named cups >&2; exit 3")
    async with supervising(tmp_path, [script]) as (supervisor, _):
        with pytest.raises(
            CommandError, match=r"it does not start: ended with code 3: no module named cups \(more in .*it.log"
        ):
            await supervisor.wait_until_ready()


async def test_all_are_stopped_in_reverse_order_and_in_time_also_a_child_that_ignores_the_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert supervisor_module.STOP_SECONDS < 10
    monkeypatch.setattr(supervisor_module, "STOP_SECONDS", 1.5)
    first = Script(tmp_path / "a", reserve_port(), name="first", text="touch UP; exec sleep 60")
    stubborn = Script(
        tmp_path / "b", reserve_port(), name="stubborn", text="trap '' TERM; touch UP; while :; do sleep 1; done"
    )
    async with supervising(tmp_path, [first], [stubborn]) as (supervisor, states):
        await supervisor.wait_until_ready()
        pids = [child.status.pid for child in supervisor.children]
        async with asyncio.timeout(10):
            await supervisor.stop()
        details = {child.status.name: child.status.detail for child in supervisor.children}
    assert details == {"first": "", "stubborn": "killed, because it did not stop in time"}
    assert states[-4:-2] == ["stubborn stopped", "first stopped"]
    assert not any(pid and lives(pid) for pid in pids)


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with Valkey.temporary() as other:
        async with supervising(tmp_path, [Valkey(tmp_path / "valkey", other.port)]) as (supervisor, _):
            with pytest.raises(
                CommandError, match=f"valkey does not start: port {other.port} is taken by another program"
            ):
                await supervisor.wait_until_ready()


_PARENT = """
import asyncio, sys
from pathlib import Path
from local.postgres import Postgres
from chassis.process.ports import reserve_port

from local.supervisor import Supervisor
from local.valkey import Valkey

async def main(folder):
    supervisor = Supervisor(folder / "logs", lambda child: None)
    supervisor.launch(Postgres(folder / "postgres", reserve_port(), durable=False))
    supervisor.launch(Valkey(folder / "valkey", reserve_port()))
    await supervisor.wait_until_ready()
    sys.stdout.write(" ".join(str(child.status.pid) for child in supervisor.children) + "\\n")
    sys.stdout.flush()
    await asyncio.sleep(60)

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the next start ends them")
async def test_children_end_when_the_parent_is_killed() -> None:
    with Valkey.temporary() as lender:  # lends a folder that PostgreSQL's user can reach
        command = [sys.executable, "-c", _PARENT, str(lender.folder)]
        parent = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        try:
            assert parent.stdout
            pids = [int(pid) for pid in (await parent.stdout.readline()).split()]
            family = [*pids, *(child.pid for pid in pids for child in psutil.Process(pid).children(recursive=True))]
            assert len(family) > 4
        finally:
            parent.kill()
            await parent.wait()
        await wait_until(lambda: not any(lives(pid) for pid in family))
