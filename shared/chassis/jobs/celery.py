"""Celery, the task queue: carries wake-ups of tasks through Valkey to a worker, and wakes the periodic tasks.

Celery's worker runs in a thread and receives names; the tasks run on the event loop of the process, which has one
database pool and one HTTP client for its life. Nothing is forked, and `worker` is a role like the others.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

from celery import Celery
from celery.beat import Scheduler
from celery.worker import WorkController, state

from chassis.config import Settings
from chassis.jobs.tasks import Tasks, Wakes
from chassis.resilience.backoff import wait_for_any
from chassis.resilience.debouncer import Debouncer
from chassis.telemetry.outage import Outage

logger = logging.getLogger(__name__)
SEND_DELAY_SECONDS = 0.05  # wake-ups of this time leave together
QUEUE_LIMIT = 100  # a longer queue means that the worker is behind: it will find the work without one more wake-up
RECONNECT_SECONDS = 1
_TRANSPORT = {
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,  # look every second for tasks of dead workers; by default Celery hardly ever does
    "socket_connect_timeout": 1,
    "socket_timeout": 5,
    "max_retries": 0,  # we report an outage and wait ourselves; by default a sender would wait for ever
}
_ALONE = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}  # workers need not know each other
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def celery_app(service: str, tasks: Tasks, settings: Settings) -> Celery:
    """The Celery application of a service, whose queue has the service's name."""
    app = Celery(service, broker=settings.celery_broker_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        beat_schedule={
            # Long ago: a period that passed while no beat ran is made up for at the start.
            name: {"task": name, "schedule": seconds, "last_run_at": _LONG_AGO}
            for name, seconds in tasks.periods.items()
        },
        broker_connection_retry=False,
        broker_connection_retry_on_startup=False,
        broker_transport_options=_TRANSPORT | {"visibility_timeout": settings.celery_visibility_seconds},
        task_acks_late=True,
        task_default_queue=service,
        task_ignore_result=True,
        worker_enable_remote_control=False,
        worker_prefetch_multiplier=1,
    )
    return app


class CeleryExecutor:
    """The queue of a service. The processes that wake, work and beat may be different ones."""

    def __init__(self, tasks: Tasks, runtime: Any) -> None:
        self.outage = Outage("the queue of the worker", logger, "not connected yet")
        self._woken: dict[str, str | None] = {}
        self._sending = Debouncer(self._send, delay_seconds=SEND_DELAY_SECONDS)
        self._send_outage = Outage("the queue for wake-ups", logger)
        self._tasks, self._runtime = tasks, runtime
        self._app = celery_app(runtime.service.name, tasks, runtime.settings)
        for name in tasks.by_name:
            self._app.task(self._runner(name), name=name)
        logging.getLogger("celery").setLevel("WARNING")
        logging.getLogger("celery.worker.consumer.consumer").addFilter(_no_connection_errors)

    busy = False  # as far as this process knows

    # Waking.

    def wake(self, tasks: Wakes) -> None:
        self._woken = {task.__name__: traceparent for task, traceparent in tasks.items()} | self._woken
        self._sending.trigger()

    async def _send(self) -> None:
        woken, self._woken = self._woken, {}
        try:
            await asyncio.to_thread(self._publish, woken)
            self._send_outage.end()
        except Exception as error:  # whatever the error is, the next period of the task makes up for it
            self._send_outage.begin(error)

    def _publish(self, woken: Mapping[str, str | None]) -> None:
        """Blocks, for a second or two at most."""
        with self._app.producer_pool.acquire(block=True, timeout=1) as producer:
            queue = producer.channel.queue_declare(self._app.conf.task_default_queue)
            if queue.message_count < QUEUE_LIMIT:
                for name, traceparent in woken.items():
                    self._app.send_task(name, kwargs={"traceparent": traceparent}, producer=producer, retry=False)

    # Working.

    async def work(self, stop: asyncio.Event) -> None:
        self._loop, self._running = asyncio.get_running_loop(), Future[None]()
        stopping, ended = threading.Event(), Future[None]()
        ended.set_running_or_notify_cancel()  # only its thread ends it
        state.should_stop = None
        threading.Thread(target=self._run_workers, args=(stopping, ended), daemon=True).start()
        ending = asyncio.wrap_future(ended)
        either: list[asyncio.Future[Any]] = [ending, waiting := asyncio.ensure_future(stop.wait())]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            stopping.set()
            state.should_stop = 0  # this is how Celery's own signal handler asks it to finish, with this exit code
            await ending
        finally:
            waiting.cancel()
            self._running.cancel()

    def _run_workers(self, stopping: threading.Event, ended: "Future[None]") -> None:
        """The thread of Celery. A worker ends with its connection; the next worker tries to connect again."""
        try:
            while not stopping.is_set():
                self._worker().start()
                if not stopping.is_set():
                    self.outage.begin(ConnectionError("no connection"))
                    stopping.wait(RECONNECT_SECONDS)
            ended.set_result(None)
        except BaseException as error:  # a thread that died unseen would leave a worker that only seems to work
            ended.set_exception(error)

    def _worker(self) -> WorkController:
        return WorkController(
            app=self._app,
            hostname=self._runtime.service.name,
            pool_cls="solo",
            ready_callback=lambda _: self.outage.end(),
            **_ALONE,
        )

    def _runner(self, name: str) -> Any:
        def run(traceparent: str | None = None) -> None:
            running = self._tasks.run(name, self._runtime, traceparent)
            self._running = asyncio.run_coroutine_threadsafe(running, self._loop)
            self._running.result()

        return run

    # Beating.

    async def beat(self, stop: asyncio.Event) -> None:
        beat = Beat(self._app, lambda name: self.wake({self._tasks.by_name[name]: None}))
        while not stop.is_set():
            await wait_for_any(beat.tick(), stop)


class Beat(Scheduler):  # type: ignore[misc]  # Celery comes without types
    """Celery's scheduler on our event loop: Celery decides when, and we send."""

    producer = None  # its own would connect in the middle of a tick

    def __init__(self, app: Celery, wake: Callable[[str], None]) -> None:
        self._wake = wake
        super().__init__(app)

    def apply_entry(self, entry: Any, producer: None = None) -> None:
        self._wake(entry.name)


def _no_connection_errors(record: logging.LogRecord) -> bool:
    """`Outage` logs an outage once; Celery would log each attempt to connect."""
    return "message broker" not in str(record.msg)
