"""The one way a process starts: `run SERVICE ROLE`."""

import argparse
import asyncio
import errno
import signal
import sys
from collections.abc import Sequence

import uvloop
from pydantic import ValidationError

from chassis import logs
from chassis.instance import ROLES, STOP_SECONDS, Instance
from chassis.messaging.memory import MemoryBroker
from chassis.service import Service, installed, installed_names


async def run(services: Sequence[Service], role: str) -> None:
    """Run services in this process until SIGTERM or Ctrl-C."""
    settings = [service.settings.of(service.name) for service in services]
    groups = {service.name: service.subscriptions.topics for service in services}
    memory = MemoryBroker(groups) if settings[0].broker == "memory" else None
    instances = [Instance(service, its, memory) for service, its in zip(services, settings, strict=True)]

    def stop() -> None:
        for instance in instances:
            instance.stop.set()
        asyncio.get_running_loop().call_later(STOP_SECONDS + 2, lambda: [task.cancel() for task in asyncio.all_tasks()])

    for signal_ in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_, stop)
    async with asyncio.TaskGroup() as group:
        for instance in instances:
            group.create_task(instance.run(role))


def main() -> None:
    """The command `run`."""
    parser = argparse.ArgumentParser(prog="run", description="Run a service in a role.")
    parser.add_argument("service", choices=[*installed_names(), "all"], help="`all`: every service in this one process")
    parser.add_argument("role", choices=ROLES, help="`all`: first migrate, then everything else")
    arguments = parser.parse_args()
    names = [] if arguments.service == "all" else [arguments.service]
    services = list(installed(*names).values())
    try:
        settings = services[0].settings.of(services[0].name)
        logs.configure(settings.log_level, settings.log_format)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(services, arguments.role))
    except ValidationError as error:
        unfit = ", ".join(f"{str(it['loc'][0]).upper()}: {it['msg']}" for it in error.errors())
        sys.exit(f"run: the settings of {arguments.service} do not fit: {unfit}")
    except asyncio.CancelledError:
        sys.exit("run: stopped before everything was finished; nothing that was accepted is lost")
    except ExceptionGroup as group:
        busy, rest = group.split(lambda error: isinstance(error, OSError) and error.errno == errno.EADDRINUSE)
        if busy is None or rest is not None:
            raise
        sys.exit(f"run: {arguments.service}: port {settings.port} is taken by another program")


if __name__ == "__main__":
    main()
