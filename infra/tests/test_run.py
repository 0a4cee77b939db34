"""The command as a person uses it: run, status, a crash, stop, reset; and what is said when it cannot run."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from local import run, state
from local.errors import CommandError
from local.server import free_port
from local.system import LocalSystem


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to run in, which PostgreSQL's own user can reach, with ports that are free."""
    folder = Path(tempfile.mkdtemp(prefix="checkout-"))
    folder.chmod(0o711)
    monkeypatch.chdir(folder)
    for listener in ("PUBLIC", "INTERNAL", "HOOKS"):
        monkeypatch.setenv(f"{listener}_PORT", str(free_port()))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def command(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "cli", *words], capture_output=True, text=True, timeout=60)


def status() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(command("status", "--json").stdout)
    return {child["name"]: child for child in told["children"]}


def test_a_run_from_start_to_reset(checkout: Path) -> None:
    services = entry_points(group="services").names
    words = [sys.executable, "-m", "cli", "run", "--except", ",".join(services)]  # the servers alone: quick
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        try:
            said = _read_until(running, "Try it")
            assert "memory" in said
            assert "ready after" in said
            _check_what_runs(checkout, running.pid)
            for service in services:
                assert f"{service}.env" in said
            running.send_signal(signal.SIGTERM)
            asked = time.monotonic()
            assert running.wait(timeout=20) == 0
            assert time.monotonic() - asked < 10
        finally:
            running.kill()
    assert state.running() is None
    assert command("reset").returncode == 0
    assert not (checkout / ".agora").exists()


def _read_until(running: "subprocess.Popen[str]", word: str) -> str:
    assert running.stdout
    said = ""
    for line in running.stdout:
        said += line
        if word in line:
            return said
    raise AssertionError(f"it ended without {word!r}: {said}")


def _check_what_runs(checkout: Path, pid: int) -> None:
    children = status()
    assert children.keys() == {"postgres", "valkey", "valkey-keep", "kafka", "envoy", "outside"}
    assert {child["state"] for child in children.values()} == {"ready"}
    assert all(child["memory"] > 1_000_000 for child in children.values())
    told = state.running()
    assert told
    assert told.pid == pid
    assert told.urls["public"] == f"http://127.0.0.1:{os.environ['PUBLIC_PORT']}"
    assert (checkout / ".agora" / "state.json").stat().st_mode & 0o077 == 0

    for words in (["run"], ["reset"]):
        refused = command(*words)
        assert refused.returncode == 1
        assert f"already running here as process {pid} (postgres {children['postgres']['port']}," in refused.stderr
        assert "Traceback" not in refused.stderr

    psutil.Process(children["valkey"]["pid"]).kill()
    deadline = time.monotonic() + 10
    while (status()["valkey"]["restarts"], status()["valkey"]["state"]) != (1, "ready"):
        assert time.monotonic() < deadline
    assert status()["valkey"]["port"] == children["valkey"]["port"]


def test_a_busy_port_is_one_line(checkout: Path) -> None:
    with socket.create_server(("127.0.0.1", int(os.environ["PUBLIC_PORT"]))):
        refused = command("run")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert f"port {os.environ['PUBLIC_PORT']} is taken by another program" in refused.stderr
    assert "PUBLIC_PORT" in refused.stderr


def test_status_of_nothing_says_so(checkout: Path) -> None:
    refused = command("status")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "nothing runs" in refused.stderr


@pytest.mark.parametrize(
    ("broker", "left_out", "words"),
    [("kafka", {"cups"}, "there is no service cups"), ("memory", {"order"}, "none can be left out")],
)
def test_what_cannot_be_left_out_is_refused(checkout: Path, broker: str, left_out: set[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        run.run(Console(), broker, left_out)


def test_a_full_disk_is_found_before_anything_starts(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_FREE_BYTES", 2**62)
    with pytest.raises(CommandError, match="the disk is nearly full"):
        run.run(Console(), "kafka", set())


def test_a_disk_that_gets_full_is_one_line(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(state, "write_private", fail)
    with pytest.raises(CommandError, match="the disk is full: free some space"):
        run.run(Console(), "kafka", set())


def test_without_the_jars_the_run_without_kafka_is_offered(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> list[Path]:
        raise CommandError("kafka_2.13-4.4.0.jar cannot be fetched: no network")

    monkeypatch.setattr(run, "fetched", refuse)
    with pytest.raises(CommandError, match=r"no network\. Without Kafka .*: BROKER=memory make run"):
        run.run(Console(), "kafka", set())


def test_ports_and_secrets_stay_from_run_to_run(checkout: Path) -> None:
    state.folder().mkdir()
    first, second = (LocalSystem(state.folder(), state.LocalState(), services=["order", "shipping"]) for _ in range(2))
    assert first.ports == second.ports
    assert first.environment("order") == second.environment("order")
    assert "SHIPPING_DATABASE_URL" not in first.environment("order"), "a service is not told its peers' secrets"
    with socket.create_server(("127.0.0.1", first.ports["order"])):
        assert (
            LocalSystem(state.folder(), state.LocalState(), services=["order"]).ports["order"] != first.ports["order"]
        )
