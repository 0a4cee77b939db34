"""The one way a process starts: `run SERVICE ROLE`."""

import argparse
import asyncio
import errno
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

import uvloop
from pydantic import ValidationError

from chassis.brokers.memory import MemoryBroker
from chassis.brokers.port import BrokerUnavailable, GroupActive, TopicMismatch
from chassis.process.instance import ROLES, STOP_SECONDS, Instance, connect_broker
from chassis.service import Service, installed, installed_names
from chassis.telemetry import logs


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


async def rewind(service: Service, moment: datetime) -> str:
    """Set the group of a stopped service back, so that it receives the messages from a moment on again.

    For a database that was restored from a backup. With any other database the inbox knows all these messages, and
    they change nothing. Returns the line to print.
    """
    broker = connect_broker(service, service.settings.of(service.name))
    try:
        await broker.rewind(service.subscriptions.topics, service.name, moment)
    except (BrokerUnavailable, GroupActive, NotImplementedError, TopicMismatch) as error:
        sys.exit(f"run: {service.name} is where it was: {error}")
    finally:
        await broker.close()
    return (
        f"run: {service.name} will receive the messages from {moment.isoformat()} on again."
        " Those that its database has in the inbox change nothing.\n"
    )


def main() -> None:
    """The command `run`."""
    arguments = _arguments()
    names = [] if arguments.service == "all" else [arguments.service]
    services = list(installed(*names).values())
    try:
        settings = services[0].settings.of(services[0].name)
        logs.configure(settings.log_level, settings.log_format)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            if arguments.to:
                sys.stdout.write(runner.run(rewind(services[0], arguments.to)))
            else:
                runner.run(run(services, arguments.role))
        end_process()
    except ValidationError as error:
        unfit = ", ".join(f"{str(it['loc'][0]).upper()}: {it['msg']}" for it in error.errors())
        sys.exit(f"run: the settings of {arguments.service} do not fit: {unfit}")
    except asyncio.CancelledError:
        sys.exit("run: stopped before everything was finished; nothing that was accepted is lost")
    except ExceptionGroup as group:
        sys.exit(f"run: {arguments.service}: {_reason(group, settings.port)}")


def end_process() -> None:
    """End after everything is closed, without the end of Python where Pulsar's client is loaded.

    A thread of the client that is still ending and takes Python's lock just then aborts the process: one in a hundred.
    """
    if "pulsar" in sys.modules:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run", description="Run a service in a role, or rewind its consumer group.")
    parser.add_argument("service", choices=[*installed_names(), "all"], help="`all`: every service in this one process")
    parser.add_argument(
        "role",
        choices=[*ROLES, "rewind"],
        help="`all`: first migrate, then everything else; `rewind`: after a database was restored from a backup,"
        " receive the messages since then again",
    )
    parser.add_argument("--to", type=_moment, metavar="TIME", help="for `rewind`, as 2026-11-24T10:00:00Z")
    arguments = parser.parse_args()
    if (arguments.role == "rewind") != bool(arguments.to) or (arguments.to and arguments.service == "all"):
        parser.error("the role rewind is for one service and needs --to TIME, and no other role does")
    return arguments


def _moment(text: str) -> datetime:
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment
    raise argparse.ArgumentTypeError(f"{text} is no time with a zone, as 2026-11-24T10:00:00Z is")


def _reason(error: BaseException, port: int) -> str:
    """A line for what an operator is to mend. Anything else is raised again."""
    if isinstance(error, ExceptionGroup):
        reasons = [_reason(it, port) for it in error.exceptions]
        return reasons[0]
    if isinstance(error, TopicMismatch):
        return str(error)
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"port {port} is taken by another program"
    raise error


if __name__ == "__main__":
    main()
