"""Tasks: slow and periodic jobs, how a service declares them, and how they run where one process does everything.

Elsewhere Celery carries their wake-ups to a worker (`chassis.jobs.celery`). A wake-up is a hint and no message: it may
be lost or come twice. The work that a task does stands in a table, and a task that also runs periodically finds what a
lost wake-up left.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from functools import partial
from typing import Any, Protocol, TypeVar

from opentelemetry.trace import SpanKind

from chassis.database.errors import is_transient
from chassis.resilience.backoff import repeat_every
from chassis.telemetry import logs, metrics, tracing
from chassis.telemetry.outage import Outage

logger = logging.getLogger(__name__)
TaskFunction = Callable[[Any], Awaitable[None]]
F = TypeVar("F", bound=TaskFunction)
Wakes = Mapping[TaskFunction, str | None]  # tasks, and the trace in which each was woken first


class Tasks:
    """`tasks = Tasks()`, then `@tasks.task` over `async def send_mails(runtime)`, which `work.wake(send_mails)` runs.

    With `@tasks.every(seconds=60)` the task also runs by itself. A task may run twice at once, and be cancelled when
    its process stops: it takes its work from a table, under a lease.
    """

    def __init__(self) -> None:
        self.by_name: dict[str, TaskFunction] = {}
        self.periods: dict[str, float] = {}  # seconds by name

    def task(self, function: F) -> F:
        name = function.__name__
        if name in self.by_name:
            raise ValueError(f"there are two tasks {name}")
        self.by_name[name] = function
        return function

    def every(self, *, seconds: float) -> Callable[[F], F]:
        def register(function: F) -> F:
            self.periods[function.__name__] = seconds
            return self.task(function)

        return register

    async def run(self, name: str, runtime: Any, traceparent: str | None = None) -> None:
        """Run a task. An error is logged here, once; the next wake-up or the next period tries again."""
        service, started, outcome = runtime.service.name, time.monotonic(), "done"
        logs.service_name.set(service)
        with tracing.span(service, f"task {name}", SpanKind.CONSUMER, traceparent):
            try:
                await self.by_name[name](runtime)
            except Exception as error:
                outcome = "failed"
                if is_transient(error):
                    logger.warning("a task is postponed", extra={"task": name, "error": repr(error)})
                else:
                    logger.error("a task failed", extra={"task": name}, exc_info=error)
        metrics.tasks.labels(service, name, outcome).observe(time.monotonic() - started)


class TaskExecutor(Protocol):
    """Runs tasks, or has them run by another process."""

    outage: Outage

    @property
    def busy(self) -> bool:
        """Whether a task is under way in this process."""

    def wake(self, tasks: Wakes) -> None:
        """Let these run soon. Returns at once and never fails."""

    async def work(self, stop: asyncio.Event) -> None:
        """Run the tasks that were woken, until `stop`."""

    async def beat(self, stop: asyncio.Event) -> None:
        """Wake the periodic tasks, until `stop`."""


class InProcessExecutor:
    """Runs tasks on this event loop, each at most once at a time: with the memory broker, and in tests."""

    def __init__(self, tasks: Tasks, runtime: Any) -> None:
        self.outage = Outage("this process", logger)
        self._tasks, self._runtime = tasks, runtime
        self._running: dict[str, asyncio.Task[None]] = {}
        self._again: dict[str, str | None] = {}

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def wake(self, tasks: Wakes) -> None:
        for task, traceparent in tasks.items():
            if task.__name__ in self._running:
                self._again.setdefault(task.__name__, traceparent)
            else:
                self._start(task.__name__, traceparent)

    def _start(self, name: str, traceparent: str | None) -> None:
        """In a context of its own: a task belongs to no request, and has neither its token nor its deadline."""
        running = self._tasks.run(name, self._runtime, traceparent)
        self._running[name] = asyncio.get_running_loop().create_task(running, context=Context())
        self._running[name].add_done_callback(lambda _: self._on_end(name))

    def _on_end(self, name: str) -> None:
        ended = self._running.pop(name)
        if name in self._again and not ended.cancelled():
            self._start(name, self._again.pop(name))

    async def work(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._again.clear()
        try:
            await asyncio.gather(*self._running.values())
        finally:
            for running in self._running.values():
                running.cancel()

    async def beat(self, stop: asyncio.Event) -> None:
        async def wake(name: str) -> None:
            self.wake({self._tasks.by_name[name]: None})

        periods = self._tasks.periods.items()
        await asyncio.gather(*(repeat_every(seconds, partial(wake, name), stop) for name, seconds in periods))
