"""Slow and periodic jobs: how a service declares them, and how they run where one process does everything.

Elsewhere Celery carries their wake-ups to a worker (`chassis.jobs.celery`). A wake-up is a hint, no message: it may be
lost or come twice. What is to be done stands in a table, and a task that is also run `every` so often is the net below.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from typing import Any, Protocol, TypeVar

from opentelemetry.trace import SpanKind

from chassis.database.errors import is_transient
from chassis.resilience.backoff import wait_for_any
from chassis.telemetry import logs, metrics, tracing
from chassis.telemetry.outage import Outage

logger = logging.getLogger(__name__)
TaskFunction = Callable[[Any], Awaitable[None]]
B = TypeVar("B", bound=TaskFunction)
Wakes = Mapping[str, str | None]  # names of tasks, and the trace of what first asked for each


class Tasks:
    """`tasks = Tasks()`, then `@tasks.task` over `async def send_mails(runtime)`, which `work.wake("send_mails")` runs.

    With `@tasks.every(seconds=60)` it also runs by itself. It may run twice at once, and be cancelled when its process
    stops: it takes its work from a table, under a lease.
    """

    def __init__(self) -> None:
        self.bodies: dict[str, TaskFunction] = {}
        self.seconds: dict[str, float] = {}

    def task(self, body: B) -> B:
        name = body.__name__
        if name in self.bodies:
            raise ValueError(f"there are two tasks {name}")
        self.bodies[name] = body
        return body

    def every(self, *, seconds: float) -> Callable[[B], B]:
        def register(body: B) -> B:
            self.seconds[body.__name__] = seconds
            return self.task(body)

        return register

    async def perform(self, name: str, runtime: Any, traceparent: str | None = None) -> None:
        """Run a task. What it raises is said here, once; the next wake-up or its next turn tries again."""
        service, started, outcome = runtime.service.name, time.monotonic(), "done"
        logs.service_name.set(service)
        with tracing.span(service, f"task {name}", SpanKind.CONSUMER, traceparent):
            try:
                await self.bodies[name](runtime)
            except Exception as error:
                outcome = "failed"
                if is_transient(error):
                    logger.warning("a task was put off", extra={"task": name, "error": repr(error)})
                else:
                    logger.error("a task failed", extra={"task": name}, exc_info=error)
        metrics.tasks.labels(service, name, outcome).observe(time.monotonic() - started)


class TaskExecutor(Protocol):
    """Whoever sees to it that tasks run."""

    outage: Outage

    @property
    def busy(self) -> bool:
        """Whether a task is under way in this process."""

    def wake(self, tasks: Wakes) -> None:
        """Have these run soon. Returns at once and never fails."""

    async def work(self, stop: asyncio.Event) -> None:
        """Run what was woken, until `stop`."""

    async def beat(self, stop: asyncio.Event) -> None:
        """Wake what is to run every so often, until `stop`."""


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
        for name, traceparent in tasks.items():
            if name in self._running:
                self._again.setdefault(name, traceparent)
            else:
                self._start(name, traceparent)

    def _start(self, name: str, traceparent: str | None) -> None:
        """In a context of its own: a task is nobody's request, and has neither his token nor his deadline."""
        performing = self._tasks.perform(name, self._runtime, traceparent)
        self._running[name] = asyncio.get_running_loop().create_task(performing, context=Context())
        self._running[name].add_done_callback(lambda _: self._ended(name))

    def _ended(self, name: str) -> None:
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
        await asyncio.gather(*(self._every(seconds, name, stop) for name, seconds in self._tasks.seconds.items()))

    async def _every(self, seconds: float, name: str, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self.wake({name: None})
            await wait_for_any(seconds, stop)
