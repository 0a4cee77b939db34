"""Mails through a real Celery worker, which is a process that may be killed, on a real Valkey, which may be away."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from chassis.testing import SERVICE_KEY, Launch, Launched, free_port
from contracts.notification import NotificationSent
from ledger.waiting import until
from local.valkey import Valkey
from notification.main import service
from notification.models import MailState

from .conftest import FakeMailServer, FakeUserService, command, mail_of, settings_for

pytestmark = pytest.mark.timeout(180)
Start = Callable[..., AbstractAsyncContextManager[Process]]


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with Valkey.temporary() as server:
        yield server


@pytest.fixture
async def notification(launch: Launch, users: FakeUserService, mail_server: FakeMailServer, valkey: Valkey) -> Launched:
    """It takes commands and wakes the worker, which is another process."""
    return await launch(
        service, role="consumer", BROKER="kafka", CELERY_BROKER_URL=valkey.url, **settings_for(mail_server)
    )


@pytest.fixture
def start(notification: Launched, users: FakeUserService, mail_server: FakeMailServer) -> Start:
    its = notification.instance.settings
    known = {
        "DATABASE_URL": its.database_url,
        "CELERY_BROKER_URL": its.celery_broker_url,
        "SERVICE_KEY": SERVICE_KEY,
        "USER_URL": users.url,
    } | {name: str(value) for name, value in settings_for(mail_server).items()}

    @asynccontextmanager
    async def start(role: str = "worker", lease_seconds: float = 1) -> AsyncIterator[Process]:
        environment = os.environ | known | {"PORT": str(free_port()), "LEASE_SECONDS": str(lease_seconds)}
        words = (sys.executable, "-m", "chassis.run", "notification", role)
        process = await asyncio.create_subprocess_exec(*words, env=environment, stdout=DEVNULL)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    return start


def kill(process: Process) -> None:
    """At once: the mail server that calls this waits no longer than that for an answer of its own."""
    os.kill(process.pid, signal.SIGKILL)


async def until_sent(it: Launched, count: int) -> None:
    async def sent() -> bool:
        async with it.instance.database.work() as work:
            (row,) = await work.read("SELECT count(*) FROM outbox WHERE type = $1", NotificationSent.wire_type)
        return int(row["count"]) == count

    await until(sent, 60)


async def test_a_mail_goes_out_through_the_worker(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer, start: Start
) -> None:
    user_id = users.add()
    async with start() as worker:
        await notification.broker.publish([notification.envelope(command(user_id))])
        await until_sent(notification, 1)
        worker.terminate()
        assert await asyncio.wait_for(worker.wait(), 15) == 0
    assert len(mail_server.to(user_id)) == 1


async def test_a_worker_killed_before_the_mail_server_has_it_loses_no_mail(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer, start: Start
) -> None:
    user_id = users.add()
    async with start() as first:

        def die() -> None:
            mail_server.before = lambda: None
            kill(first)
            raise RuntimeError("the mail server forgets it with the connection")

        mail_server.before = die
        await notification.broker.publish([notification.envelope(command(user_id))])
        await first.wait()
    assert mail_server.to(user_id) == []
    assert (await mail_of(notification, user_id)).state == MailState.PENDING
    async with start(), start("beat"):
        await until_sent(notification, 1)
    assert len(mail_server.to(user_id)) == 1


async def test_a_worker_killed_before_it_could_write_down_that_it_sent_sends_the_same_message_again(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer, start: Start
) -> None:
    user_id = users.add()
    async with start() as first:

        def die() -> None:
            mail_server.after = lambda: None
            kill(first)

        mail_server.after = die
        await notification.broker.publish([notification.envelope(command(user_id))])
        await first.wait()
    assert len(mail_server.to(user_id)) == 1
    assert (await mail_of(notification, user_id)).state == MailState.PENDING
    async with start(), start("beat"):
        await until_sent(notification, 1)
    one, again = mail_server.to(user_id)
    assert one["Message-ID"] == again["Message-ID"]
    assert one["Date"] == again["Date"]


async def test_without_valkey_commands_are_taken_and_mails_go_out_when_it_is_back(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer, start: Start, valkey: Valkey
) -> None:
    readers = [users.add() for _ in range(3)]
    valkey.kill()
    await notification.broker.publish([notification.envelope(command(user_id)) for user_id in readers])
    assert {mail.state for user_id in readers if (mail := await mail_of(notification, user_id))} == {MailState.PENDING}
    async with start(), start("beat"):
        valkey.start()
        await until_sent(notification, len(readers))
    assert [len(mail_server.to(user_id)) for user_id in readers] == [1, 1, 1]


async def test_two_workers_share_the_work_and_send_nothing_twice(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer, start: Start
) -> None:
    readers = [users.add() for _ in range(60)]
    await notification.broker.publish([notification.envelope(command(user_id)) for user_id in readers])
    async with start(lease_seconds=60), start(lease_seconds=60), start("beat"):
        await until_sent(notification, len(readers))
    assert [len(mail_server.to(user_id)) for user_id in readers] == [1] * len(readers)
