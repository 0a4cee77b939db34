"""Tasks: woken after a commit, run in this process or, on a real Valkey, by a worker that may be killed."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import SpanKind

from chassis.jobs import Tasks, celery
from chassis.telemetry import tracing
from chassis.testing import Launch, Launched
from ledger import tasks
from ledger.models import Note
from ledger.process import RUN, Running, running
from ledger.tasks import reckon, service
from ledger.waiting import until
from local.server import send_and_receive
from local.valkey import Valkey

Start = Callable[..., AbstractAsyncContextManager[Running]]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with Valkey.temporary() as server:
        yield server


@pytest.fixture
async def ledger(launch: Launch) -> Launched:
    return await launch(service)


@pytest.fixture
async def sender(launch: Launch, valkey: Valkey) -> Launched:
    """It wakes and does not work."""
    return await launch(service, role="api", BROKER="kafka", CELERY_BROKER_URL=valkey.url)


@pytest.fixture
def in_process(tmp_path: Path, sender: Launched) -> Start:
    its = sender.instance.settings
    known = {"DATABASE_URL": its.database_url, "CELERY_BROKER_URL": its.celery_broker_url, "LOG_FORMAT": "console"}

    @asynccontextmanager
    async def start(role: str, **settings: str) -> AsyncIterator[Running]:
        module = (RUN[0], "ledger", role)
        async with running(tmp_path, *module, service="ledger.tasks:service", **known, **settings) as it:
            await it.until("/readyz")
            yield it

    return start


async def wake(it: Launched, *names: str) -> None:
    async with it.instance.database.work() as work:
        for name in names:
            work.wake(getattr(tasks, name))


async def notes(it: Launched, kind: str) -> list[Note]:
    return [note for note in await it.rows(Note) if note.account == kind]


async def until_noted(it: Launched, kind: str, count: int = 1) -> list[Note]:
    async def noted() -> bool:
        return len(await notes(it, kind)) >= count

    await until(noted)
    return await notes(it, kind)


# In one process.


async def test_a_task_runs_after_the_commit_that_woke_it(ledger: Launched) -> None:
    async with ledger.instance.database.work() as work:
        work.wake(reckon)
        work.wake(reckon)
        await asyncio.sleep(0.1)
        assert await notes(ledger, "reckoned") == []
    await ledger.settled()
    assert len(await notes(ledger, "reckoned")) == 1


async def test_what_is_undone_wakes_nobody(ledger: Launched) -> None:
    with pytest.raises(RuntimeError, match="undone"):
        async with ledger.instance.database.work() as work:
            work.wake(reckon)
            raise RuntimeError("undone")
    await ledger.settled()
    assert await notes(ledger, "reckoned") == []


async def dance(runtime: Any) -> None:
    """A task that is not registered."""


async def test_a_task_that_nobody_has_is_refused_before_the_commit(ledger: Launched) -> None:
    with pytest.raises(ValueError, match="ledger has no task dance"):
        async with ledger.instance.database.work() as work:
            await work.begin()
            work.add(Note.new(account="a", number=1))
            work.wake(dance)
    assert await notes(ledger, "a") == []


async def test_one_woken_while_it_runs_runs_once_more(ledger: Launched) -> None:
    await wake(ledger, "doze")
    await until_noted(ledger, "dozed off")
    for _ in range(3):
        await wake(ledger, "doze")
    await ledger.settled()
    assert len(await notes(ledger, "woke up")) == 2


async def test_one_that_fails_is_said_and_disturbs_no_other(ledger: Launched, caplog: pytest.LogCaptureFixture) -> None:
    await wake(ledger, "stumble", "reckon")
    await ledger.settled()
    assert len(await notes(ledger, "reckoned")) == 1
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["a task failed"]


async def test_one_that_is_run_every_so_often_also_runs_at_the_start(ledger: Launched) -> None:
    await ledger.settled()
    assert len(await notes(ledger, "swept")) == 1


def test_two_tasks_of_one_name_are_refused() -> None:
    tasks = Tasks()

    async def sweep(runtime: Any) -> None: ...

    tasks.task(sweep)
    with pytest.raises(ValueError, match="two tasks sweep"):
        tasks.every(seconds=1)(sweep)


# On Valkey.


async def test_a_worker_runs_what_another_process_wakes_within_its_trace(sender: Launched, in_process: Start) -> None:
    async with in_process("worker") as it:
        with tracing.span("ledger", "a request", SpanKind.SERVER, TRACE):
            await wake(sender, "reckon")
        (note,) = await until_noted(sender, "reckoned")
        assert (note.text, note.data) == (str(it.process.pid), TRACE)
        code, _ = await it.stop()
    assert code == 0


async def test_beat_and_worker_are_processes_of_their_own(sender: Launched, in_process: Start) -> None:
    async with in_process("beat", LEDGER_SWEEP_SECONDS="0.2"):
        assert await notes(sender, "swept") == []
        async with in_process("worker") as it:
            found = await until_noted(sender, "swept", 3)
            assert {note.text for note in found} == {str(it.process.pid)}


async def test_a_worker_ends_its_task_before_it_stops(sender: Launched, in_process: Start) -> None:
    async with in_process("worker") as it:
        await wake(sender, "doze")
        await until_noted(sender, "dozed off")
        code, seconds = await it.stop()
        assert len(await notes(sender, "woke up")) == 1
    assert (code, seconds < 10) == (0, True)


async def test_what_a_killed_worker_had_in_hand_goes_to_another(sender: Launched, in_process: Start) -> None:
    async with in_process("worker") as it:
        await wake(sender, "doze")
        await until_noted(sender, "dozed off")
        it.process.send_signal(signal.SIGKILL)
        await it.process.wait()
    async with in_process("worker", CELERY_VISIBILITY_SECONDS="1"):
        await until_noted(sender, "woke up")


async def test_without_valkey_all_else_goes_on_and_it_is_said_once(
    sender: Launched, in_process: Start, valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with in_process("worker") as it:
        valkey.kill()
        waiting = await it.until("/readyz", 503)
        assert waiting["waiting_for"].keys() == {"worker"}
        for _ in range(3):
            await wake(sender, "reckon")  # it commits
            await asyncio.sleep(celery.SEND_DELAY_SECONDS * 2)
        await until(lambda: "queue for wake-ups is away" in caplog.text)
        valkey.start()
        await it.until("/readyz")
        await wake(sender, "reckon")
        await until_noted(sender, "reckoned")
    assert caplog.text.count("queue for wake-ups is away") == 1


async def test_a_worker_whose_celery_fails_ends_rather_than_only_seem_to_work(
    sender: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise RuntimeError("no worker today")

    monkeypatch.setattr(celery, "WorkController", refuse)
    with pytest.raises(RuntimeError, match="no worker today"):
        await sender.instance.tasks.work(asyncio.Event())


async def test_a_long_queue_gets_no_longer(sender: Launched, valkey: Valkey) -> None:
    queue = sender.instance.tasks
    assert isinstance(queue, celery.CeleryExecutor)
    for _ in range(celery.QUEUE_LIMIT + 10):
        queue._publish({"reckon": None})
    assert send_and_receive(valkey.port, b"LLEN ledger\r\n") == b":%d\r\n" % celery.QUEUE_LIMIT
