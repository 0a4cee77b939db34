"""One run of the whole system: looked over, started, shown, kept, and stopped in order."""

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
from local.display import Display, megabytes, table
from local.errors import CommandError
from local.jars import fetched
from local.java import JavaServer
from local.process import popen_options
from local.server import is_free
from local.supervisor import ManagedProcess, Supervisor, memory_of
from local.system import Listeners, LocalSystem

_FREE_BYTES = 500_000_000  # what a first run writes: data folders, and a broker's jars with the recording of its start
_OFFER = "Without Kafka or Pulsar the whole shop runs in one process: BROKER=memory make run"


def run(console: Console, broker: str, left_out: set[str], seed: int = 0) -> None:
    """SystemRun until Ctrl-C or SIGTERM; raises CommandError when it cannot."""
    claim = state.claim()
    try:
        if left := state.end_leftovers():
            console.print(f"ended what an earlier run had left: {', '.join(left)}")
        shop = LocalSystem(state.folder(), state.LocalState(), broker, listeners_from_environment(), left_out)
        run_preflight_checks(shop, console)
        asyncio.run(SystemRun(shop, console, seed).go())
    except OSError as error:
        full = error.errno == errno.ENOSPC
        raise CommandError("the disk is full: free some space and start again" if full else str(error)) from error
    finally:
        state.forget()
        claim.close()


def listeners_from_environment() -> Listeners:
    given = {name: os.environ.get(f"{name.upper()}_PORT") for name in ("public", "internal", "hooks")}
    try:
        return Listeners(**{name: int(port) for name, port in given.items() if port})
    except ValueError as error:
        raise CommandError(f"PUBLIC_PORT, INTERNAL_PORT and HOOKS_PORT are numbers: {error}") from error


def run_preflight_checks(shop: LocalSystem, console: Console) -> None:
    """What would fail half way is said before anything is started."""
    if unknown := set(shop.left_out) - set(shop.services):
        raise CommandError(f"there is no service {', '.join(unknown)}; there are {', '.join(shop.services)}")
    if shop.broker == "memory" and shop.left_out:
        raise CommandError("with the memory broker all services share one process: none can be left out")
    if shutil.disk_usage(shop.folder).free < _FREE_BYTES:
        raise CommandError(
            f"the disk is nearly full: {megabytes(_FREE_BYTES)} are needed at {shop.folder}, free some space"
        )
    for name, port in vars(shop.listeners).items():
        if not is_free(port):
            raise CommandError(
                f"port {port} is taken by another program: stop that, or set {name.upper()}_PORT to another"
            )
    for server in _in_java(shop):
        try:
            with console.status(f"fetching what {server.name} needs (once)"):
                fetched(server.lock)
        except CommandError as error:
            raise CommandError(f"{error}. {_OFFER}") from error


def _in_java(shop: LocalSystem) -> list[JavaServer]:
    return [server for server in shop.brokers() if isinstance(server, JavaServer)]


class SystemRun:
    def __init__(self, shop: LocalSystem, console: Console, seed: int) -> None:
        self._shop, self._console, self._seed = shop, console, seed
        self._display = Display(console)
        self._seeding: subprocess.Popen[bytes] | None = None
        own = psutil.Process()
        self._started = own.create_time()
        self._told = state.RunningSystem(
            own.pid,
            self._started,
            shop.broker,
            shop.urls(),
            shop.service_key,
            {"database": shop.passwords, "carrier_webhook": shop.webhook_secret},
        )

    async def go(self) -> None:
        self._supervisor = Supervisor(self._shop.folder / "logs", self._changed)
        for signal_ in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(signal_, self._supervisor.ask_to_stop)
        helpers: list[subprocess.Popen[bytes]] = []
        try:
            with suppress(asyncio.CancelledError):
                with self._display:
                    await self._start()
                self._say_ready()
                helpers += [*self._record_start(), *self._bring_products()]
                await self._supervisor.over
        finally:
            self._console.print("stopping", style="dim")
            if self._seeding and self._seeding.poll() == 0:
                self._shop.kept.values["seeded"] = True
                self._shop.kept.write()
            for helper in helpers:
                helper.kill()
            await self._supervisor.stop()

    async def _start(self) -> None:
        """The services come after PostgreSQL, because their databases are made in it; all else starts in any order."""
        shop, supervisor = self._shop, self._supervisor
        self._display.watch(supervisor.children)
        self._by_hand = {name: shop.write_environment(name) for name in shop.left_out}
        supervisor.launch(shop.postgres)
        supervisor.launch(shop.valkey, *shop.brokers())
        supervisor.launch(shop.envoy, shop.outside())
        await supervisor.until_ready(shop.postgres.name)
        await asyncio.to_thread(shop.postgres.create_databases, shop.passwords)
        self._flushing = asyncio.create_task(asyncio.to_thread(shop.postgres.flush))
        supervisor.launch(*shop.programs())
        await supervisor.until_ready()

    def _changed(self, child: ManagedProcess) -> None:
        self._display.changed(child)
        self._told.children = [child.told for child in self._supervisor.children]
        state.write(self._told)

    def _say_ready(self) -> None:
        say, shop = self._console.print, self._shop
        self._told.ready_seconds = time.time() - self._started
        state.write(self._told)
        children = self._supervisor.children
        memory = [memory_of(child.told.pid) for child in children]
        say(table([child.told for child in children], memory))
        for name, port in vars(shop.listeners).items():
            say(f"{name:9} http://127.0.0.1:{port}")
        for name in shop.left_out:
            say(f"{name} is left out; start it by hand: {self._by_hand[name]}", soft_wrap=True)
        if shop.postgres.home != shop.postgres.folder:
            say(f"PostgreSQL's data is in {shop.postgres.home}, where its own user can reach it")
        total = megabytes(sum(memory) + memory_of(self._told.pid, family=False))
        say(f"[bold green]ready[/] after {self._told.ready_seconds:.1f} s, memory {total}, logs in {shop.folder}/logs")
        say("Try it in another terminal: [bold]make demo[/]. Ctrl-C stops everything.")

    def _bring_products(self) -> list[subprocess.Popen[bytes]]:
        """In the first run, so that there is something to buy."""
        if not self._seed or self._shop.kept.values.get("seeded") or {"product", "user"} & set(self._shop.left_out):
            return []
        self._seeding = self._helper("seed", ["cli", "seed", "--size", str(self._seed)])
        return [self._seeding]

    def _record_start(self) -> list[subprocess.Popen[bytes]]:
        """Beside the first run, so that the next one starts faster."""
        new = [server.name for server in _in_java(self._shop) if not server.recording().exists()]
        return [self._helper("recording", ["local.aot_cache", name]) for name in new]

    def _helper(self, name: str, module: list[str]) -> "subprocess.Popen[bytes]":
        """A short-lived program beside the run, with its words in a log."""
        with (self._shop.folder / "logs" / f"{name}.log").open("wb") as log:
            options = popen_options(log, dict(os.environ), None, signal.SIGKILL)
            return subprocess.Popen([sys.executable, "-m", *module], **options)
