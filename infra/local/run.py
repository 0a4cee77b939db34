"""One run of the whole system: checked before anything starts, started, shown, supervised, and stopped in order."""

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
from rich.console import Console

from local import state
from local.display import Display, format_megabytes, process_table
from local.errors import CommandError
from local.jars import fetch_jars
from local.java import JavaServer
from local.process import popen_options
from local.server import is_port_free
from local.supervisor import ManagedProcess, Supervisor, memory_of
from local.system import Listeners, LocalSystem, trace_ratio

_FREE_BYTES = 500_000_000  # what a first run writes: data folders, a broker's jars and its AOT cache
_WITHOUT_BROKER = "Without Kafka or Pulsar the whole shop runs in one process: BROKER=memory make run"


def run_system(console: Console, broker: str, excluded: set[str], seed: int = 0) -> None:
    """Run until Ctrl-C or SIGTERM. Raises CommandError when the system cannot run."""
    lock = state.lock_folder()
    try:
        if left := state.kill_leftover_processes():
            console.print(f"ended processes of an earlier run: {', '.join(left)}")
        system = LocalSystem(state.folder(), state.LocalState(), broker, listeners_from_environment(), excluded)
        run_preflight_checks(system, console)
        asyncio.run(SystemRun(system, console, seed).run())
    except OSError as error:
        full = error.errno == errno.ENOSPC
        raise CommandError("the disk is full: free some space and start again" if full else str(error)) from error
    finally:
        state.remove_running_system()
        lock.close()


def listeners_from_environment() -> Listeners:
    variables = {f"{name.upper()}_PORT": name for name in ("public", "internal", "hooks")}
    given = {variable: os.environ[variable] for variable in variables if os.environ.get(variable)}
    for variable, text in given.items():
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
            raise CommandError(f"{variable} is {text}: set it to a port from 1 to 65535")
    listeners = Listeners(**{variables[variable]: int(text) for variable, text in given.items()})
    if len(set(vars(listeners).values())) < len(variables):
        ports = ", ".join(f"{variable} {getattr(listeners, name)}" for variable, name in variables.items())
        raise CommandError(f"two listeners have the same port ({ports}): set them to different ports")
    return listeners


def run_preflight_checks(system: LocalSystem, console: Console) -> None:
    """Find what would make the start fail half way, before anything is started."""
    if unknown := set(system.excluded) - set(system.services):
        raise CommandError(f"there is no service {', '.join(sorted(unknown))}; there are {', '.join(system.services)}")
    if system.broker == "memory" and system.excluded:
        raise CommandError("with the memory broker all services share one process: none can be left out")
    if shutil.disk_usage(system.folder).free < _FREE_BYTES:
        needed = f"{format_megabytes(_FREE_BYTES)} are needed at {system.folder}"
        raise CommandError(f"the disk is nearly full: {needed}, free some space")
    trace_ratio()
    for name, port in vars(system.listeners).items():
        if not is_port_free(port):
            remedy = f"stop that program, or set {name.upper()}_PORT to another port"
            raise CommandError(f"port {port} is taken by another program: {remedy}")
    for server in _java_servers(system):
        try:
            with console.status(f"downloading the jars of {server.name} (once)"):
                fetch_jars(server.lock)
        except CommandError as error:
            raise CommandError(f"{error}. {_WITHOUT_BROKER}") from error


def _java_servers(system: LocalSystem) -> list[JavaServer]:
    return [server for server in system.broker_servers() if isinstance(server, JavaServer)]


class SystemRun:
    def __init__(self, system: LocalSystem, console: Console, seed: int) -> None:
        self._system, self._console, self._seed = system, console, seed
        self._display = Display(console)
        self._seeding: subprocess.Popen[bytes] | None = None
        own = psutil.Process()
        self._started = own.create_time()
        self._running = state.RunningSystem(
            own.pid,
            self._started,
            system.broker,
            system.urls(),
            system.service_key,
            {"database": system.passwords, "carrier_webhook": system.webhook_secret},
        )

    async def run(self) -> None:
        self._supervisor = Supervisor(self._system.folder / "logs", self._record_change)
        for signal_ in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(signal_, self._supervisor.request_stop)
        helpers: list[subprocess.Popen[bytes]] = []
        try:
            with suppress(asyncio.CancelledError):
                with self._display:
                    await self._start()
                self._print_ready()
                helpers += [*self._start_aot_recording(), *self._start_seeding()]
                await self._supervisor.finished
        finally:
            self._console.print("stopping", style="dim")
            if self._seeding and self._seeding.poll() == 0:
                self._system.local_state.values["seeded"] = True
                self._system.local_state.write()
            for helper in helpers:
                helper.kill()
            await self._supervisor.stop()

    async def _start(self) -> None:
        """The services follow PostgreSQL, in which their databases are created; the rest starts in any order."""
        system, supervisor = self._system, self._supervisor
        self._display.set_children(supervisor.children)
        self._start_commands = {name: system.write_environment_file(name) for name in system.excluded}
        supervisor.launch(system.postgres)
        supervisor.launch(system.valkey, *system.broker_servers())
        supervisor.launch(system.envoy, system.simulators())
        await supervisor.wait_until_ready(system.postgres.name)
        await asyncio.to_thread(system.postgres.create_databases, system.passwords)
        self._checkpoint = asyncio.create_task(asyncio.to_thread(system.postgres.checkpoint))
        supervisor.launch(*system.service_programs())
        await supervisor.wait_until_ready()

    def _record_change(self, child: ManagedProcess) -> None:
        self._display.show_change(child)
        self._running.children = [child.status for child in self._supervisor.children]
        state.write_running_system(self._running)

    def _print_ready(self) -> None:
        echo, system = self._console.print, self._system
        seconds = self._running.ready_seconds = time.time() - self._started
        state.write_running_system(self._running)
        children = [child.status for child in self._supervisor.children]
        memory = [memory_of(child.pid) for child in children]
        echo(process_table(children, memory))
        for name, port in vars(system.listeners).items():
            echo(f"{name:9} http://127.0.0.1:{port}")
        for name in system.excluded:
            echo(f"{name} is left out; start it by hand: {self._start_commands[name]}", soft_wrap=True)
        if system.postgres.data_home != system.postgres.folder:
            echo(f"PostgreSQL's data is in {system.postgres.data_home}, where its own user can reach it")
        total = format_megabytes(sum(memory) + memory_of(self._running.pid, family=False))
        echo(f"[bold green]ready[/] after {seconds:.1f} s, memory {total}, logs in {system.folder}/logs")
        echo("Try it in another terminal: [bold]make demo[/]. Ctrl-C stops everything.")

    def _start_seeding(self) -> list[subprocess.Popen[bytes]]:
        """Create products in the first run, so that there is something to buy."""
        seeded = self._system.local_state.values.get("seeded")
        if not self._seed or seeded or {"product", "user"} & set(self._system.excluded):
            return []
        self._seeding = self._start_helper("seed", ["cli", "seed", "--size", str(self._seed)])
        return [self._seeding]

    def _start_aot_recording(self) -> list[subprocess.Popen[bytes]]:
        """Build the AOT cache of the broker beside the first run, so that the next start is faster."""
        missing = [server.name for server in _java_servers(self._system) if not server.aot_cache_path().exists()]
        return [self._start_helper("aot-cache", ["local.aot_cache", name]) for name in missing]

    def _start_helper(self, name: str, module: list[str]) -> "subprocess.Popen[bytes]":
        """Start a short-lived program beside the run, with its output in a log file."""
        with (self._system.folder / "logs" / f"{name}.log").open("wb") as log:
            options = popen_options(log, dict(os.environ), None, signal.SIGKILL)
            return subprocess.Popen([sys.executable, "-m", *module], **options)
