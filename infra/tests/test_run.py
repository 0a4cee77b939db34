"""The command as an operator uses it: run, status, a crash, stop, reset; and the errors of a system that cannot run."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from chassis.process.ports import reserve_port
from local import run, state
from local.errors import CommandError
from local.system import LocalSystem

from .waiting import wait_for


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to run in, which PostgreSQL's own user can reach, with ports that are free."""
    folder = Path(tempfile.mkdtemp(prefix="checkout-"))
    folder.chmod(0o711)
    monkeypatch.chdir(folder)
    for listener in ("PUBLIC", "INTERNAL", "HOOKS"):
        monkeypatch.setenv(f"{listener}_PORT", str(reserve_port()))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def command(*words: str, answer: str = "") -> "subprocess.CompletedProcess[str]":
    arguments = [sys.executable, "-m", "cli", *words]
    return subprocess.run(arguments, input=answer, capture_output=True, text=True, timeout=60)


def status() -> dict[str, Any]:
    system: dict[str, Any] = json.loads(command("status", "--json").stdout)
    return {child["name"]: child for child in system["children"]}


def test_a_run_from_start_to_reset(checkout: Path) -> None:
    services = entry_points(group="services").names
    words = [sys.executable, "-m", "cli", "run", "--except", ",".join(services)]  # the servers alone: quick
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        try:
            output = _read_until(running, "Try it")
            assert "memory" in output
            assert "ready after" in output
            _check_what_runs(checkout, running.pid)
            for service in services:
                assert f"{service}.env" in output
            running.send_signal(signal.SIGTERM)
            assert running.wait(timeout=20) == 0
        finally:
            running.kill()
    assert state.running_system() is None
    for answer in ("", "n\n"):
        refused = command("reset", answer=answer)
        assert (refused.returncode, "Delete all data" in refused.stderr) == (1, True)
        assert (checkout / ".agora" / "local_state.json").exists()
    assert command("reset", answer="y\n").returncode == 0
    assert not (checkout / ".agora").exists()


def _read_until(running: "subprocess.Popen[str]", word: str) -> str:
    assert running.stdout
    output = ""
    for line in running.stdout:
        output += line
        if word in line:
            return output
    raise AssertionError(f"it ended without {word!r}: {output}")


def _check_what_runs(checkout: Path, pid: int) -> None:
    children = status()
    assert children.keys() == {"postgres", "valkey", "valkey-persistent", "kafka", "envoy", "simulators"}
    assert {child["state"] for child in children.values()} == {"ready"}
    assert all(child["memory"] > 1_000_000 for child in children.values())
    system = state.running_system()
    assert system
    assert system.pid == pid
    assert system.urls["public"] == f"http://127.0.0.1:{os.environ['PUBLIC_PORT']}"
    assert (checkout / ".agora" / "running.json").stat().st_mode & 0o077 == 0

    for words in (["run"], ["reset", "--yes"]):
        refused = command(*words)
        assert refused.returncode == 1
        assert f"already running here as process {pid} (postgres {children['postgres']['port']}," in refused.stderr
        assert "Traceback" not in refused.stderr

    psutil.Process(children["valkey"]["pid"]).kill()
    wait_for(lambda: (status()["valkey"]["restarts"], status()["valkey"]["state"]) == (1, "ready"))
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
    ("variables", "arguments", "error"),
    [
        ({}, ["--except", "cups"], "there is no service cups; there are aggregator, "),
        ({"BROKER": "memory"}, ["--except", "order"], "none can be left out"),
        ({"PUBLIC_PORT": "99999"}, [], "PUBLIC_PORT is 99999: set it to a port from 1 to 65535"),
        ({"HOOKS_PORT": "many"}, [], "HOOKS_PORT is many: set it to a port from 1 to 65535"),
        ({"PUBLIC_PORT": "8089", "INTERNAL_PORT": "8089"}, [], "two listeners have the same port"),
        ({"TRACE_RATIO": "all"}, [], "TRACE_RATIO is all: set it to a number from 0 to 1"),
    ],
)
@pytest.mark.usefixtures("checkout")
def test_a_bad_setting_is_one_line(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], arguments: list[str], error: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    refused = command("run", *arguments)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert error in refused.stderr


def test_an_unknown_broker_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER", "rabbit")
    refused = command("run")
    assert refused.returncode == 2
    assert "rabbit" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_version_is_printed() -> None:
    assert command("--version").stdout == f"agora {version('infra')}\n"


def test_a_shell_completes_commands_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_AGORA_COMPLETE", "complete_bash")
    for words, position, completed in (("agora dead", 1, "dead-letters"), ("agora run --bro", 2, "--broker")):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(position))
        done = subprocess.run([Path(sys.executable).with_name("agora")], capture_output=True, text=True, timeout=60)
        assert done.stdout.split() == [completed]


def test_a_full_disk_is_found_before_anything_starts(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_FREE_BYTES", 2**62)
    with pytest.raises(CommandError, match="the disk is nearly full"):
        run.run_system(Console(), "kafka", set())


def test_a_disk_that_gets_full_is_one_line(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(state, "write_private", fail)
    with pytest.raises(CommandError, match="the disk is full: free some space"):
        run.run_system(Console(), "kafka", set())


def test_without_the_jars_the_run_without_kafka_is_offered(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> list[Path]:
        raise CommandError("kafka_2.13-4.4.0.jar cannot be downloaded: no network")

    monkeypatch.setattr(run, "fetch_jars", refuse)
    with pytest.raises(CommandError, match=r"no network\. Without Kafka .*: BROKER=memory make run"):
        run.run_system(Console(), "kafka", set())


def test_ports_and_secrets_stay_from_run_to_run(checkout: Path) -> None:
    state.folder().mkdir()
    first, second = (LocalSystem(state.folder(), state.LocalState(), services=["order", "shipping"]) for _ in range(2))
    assert first.ports == second.ports
    assert first.service_environment("order") == second.service_environment("order")
    assert "SHIPPING_DATABASE_URL" not in first.service_environment("order"), (
        "a service does not get its peers' secrets"
    )
    with socket.create_server(("127.0.0.1", first.ports["order"])):
        third = LocalSystem(state.folder(), state.LocalState(), services=["order"])
        assert third.ports["order"] != first.ports["order"]
