"""Celery: carries wake-ups of tasks through Valkey to a worker, and beats for what is to run every so often.

Celery's worker lives in a thread and passes on names; the tasks run on the event loop of the process, which has one
database pool and one HTTP client for its life. Nothing is forked, and `worker` is a role like the others.
"""

import asyncio
import logging
import threading
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

from celery import Celery
from celery.beat import Scheduler
from celery.worker import WorkController, state

from chassis.config import Settings
from chassis.jobs.tasks import Tasks, Wakes
from chassis.resilience.backoff import wait_for_any
from chassis.telemetry.outage import Outage

logger = logging.getLogger(__name__)
GATHER_SECONDS = 0.05  # wake-ups of so long leave together
QUEUE_LIMIT = 100  # so many wait already: the worker is behind, and will find what one more would tell it
RECONNECT_SECONDS = 1
_TRANSPORT = {
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,  # looked for every second; by default hardly ever, while there is little to do
    "socket_connect_timeout": 1,
    "socket_timeout": 5,
    "max_retries": 0,  # when it is away we say so and wait ourselves; by default a sender would wait for ever
}
_ALONE = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}  # workers need not know each other
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def celery_app(service: str, tasks: Tasks, settings: Settings) -> Celery:
    """The Celery application of a service, whose queue has the service's name."""
    app = Celery(service, broker=settings.celery_broker_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        beat_schedule={
            # Long ago: what was missed while nobody beat is made up for at the start.
            name: {"task": name, "schedule": seconds, "last_run_at": _LONG_AGO}
            for name, seconds in tasks.seconds.items()
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
    """The queue of a service: who wakes, who works, and who beats may be different processes."""

    def __init__(self, tasks: Tasks, runtime: Any) -> None:
        self.outage = Outage("the queue of the worker", logger, "not connected yet")
        self._woken: dict[str, str | None] = {}
        self._sending: asyncio.Task[None] | None = None
        self._unsent = Outage("the queue for wake-ups", logger)
        self._tasks, self._runtime = tasks, runtime
        self._app = celery_app(runtime.service.name, tasks, runtime.settings)
        for name in tasks.bodies:
            self._app.task(self._passed_on(name), name=name)
        logging.getLogger("celery").setLevel("WARNING")
        logging.getLogger("celery.worker.consumer.consumer").addFilter(_not_of_connections)

    busy = False  # as far as this process knows

    # Who wakes.

    def wake(self, tasks: Wakes) -> None:
        self._woken = {**tasks, **self._woken}
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        while self._woken:
            await asyncio.sleep(GATHER_SECONDS)
            woken, self._woken = self._woken, {}
            try:
                await asyncio.to_thread(self._publish, woken)
                self._unsent.end()
            except Exception as error:  # whatever it is, the next turn of the task is the net
                self._unsent.begin(error)
        self._sending = None

    def _publish(self, woken: Wakes) -> None:
        """Blocks, for a second or two at most."""
        with self._app.producer_pool.acquire(block=True, timeout=1) as producer:
            queue = producer.channel.queue_declare(self._app.conf.task_default_queue)
            if queue.message_count < QUEUE_LIMIT:
                for name, traceparent in woken.items():
                    self._app.send_task(name, kwargs={"traceparent": traceparent}, producer=producer, retry=False)

    # Who works.

    async def work(self, stop: asyncio.Event) -> None:
        self._loop, self._performing = asyncio.get_running_loop(), Future[None]()
        stopping, ended = threading.Event(), Future[None]()
        ended.set_running_or_notify_cancel()  # nobody but its thread ends it
        state.should_stop = None
        threading.Thread(target=self._live, args=(stopping, ended), daemon=True).start()
        living = asyncio.wrap_future(ended)
        either: list[asyncio.Future[Any]] = [living, waiting := asyncio.ensure_future(stop.wait())]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            stopping.set()
            state.should_stop = 0  # this is how Celery's own signal handler asks it to finish, with this exit code
            await living
        finally:
            waiting.cancel()
            self._performing.cancel()

    def _live(self, stopping: threading.Event, ended: "Future[None]") -> None:
        """The thread of Celery. A worker ends with its connection, and the next one tries to connect."""
        try:
            while not stopping.is_set():
                self._worker().start()
                if not stopping.is_set():
                    self.outage.begin(ConnectionError("no connection to it"))
                    stopping.wait(RECONNECT_SECONDS)
            ended.set_result(None)
        except BaseException as error:  # a thread that dies unseen would be a worker that only seems to work
            ended.set_exception(error)

    def _worker(self) -> WorkController:
        return WorkController(
            app=self._app,
            hostname=self._runtime.service.name,
            pool_cls="solo",
            ready_callback=lambda _: self.outage.end(),
            **_ALONE,
        )

    def _passed_on(self, name: str) -> Any:
        def run(traceparent: str | None = None) -> None:
            performing = self._tasks.perform(name, self._runtime, traceparent)
            self._performing = asyncio.run_coroutine_threadsafe(performing, self._loop)
            self._performing.result()

        return run

    # Who beats.

    async def beat(self, stop: asyncio.Event) -> None:
        beat = Beat(self._app, self.wake)
        while not stop.is_set():
            await wait_for_any(beat.tick(), stop)


class Beat(Scheduler):  # type: ignore[misc]  # Celery comes without types
    """Celery's scheduler on our event loop: it decides when, and we send."""

    producer = None  # its own would connect in the middle of a tick

    def __init__(self, app: Celery, wake: Any) -> None:
        self._wake = wake
        super().__init__(app)

    def apply_entry(self, entry: Any, producer: None = None) -> None:
        self._wake({entry.name: None})


def _not_of_connections(record: logging.LogRecord) -> bool:
    """What `Outage` says once is not said again by Celery at each attempt."""
    return "message broker" not in str(record.msg)
