"""Mails through a real Celery worker, which a test may kill, and a real Valkey, which a test may stop."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from chassis.process.ports import reserve_port
from chassis.testing import SERVICE_KEY, Launch, Launched
from contracts.notification import NotificationSent
from ledger.fakes import FakeUserService
from ledger.waiting import until
from local.valkey import Valkey
from notification.main import service
from notification.models import MailState

from .conftest import FakeMailServer, command, mail_of, settings_for

Start = Callable[..., AbstractAsyncContextManager[Process]]


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with Valkey.temporary() as server:
        yield server


@pytest.fixture
async def notification(launch: Launch, users: FakeUserService, mail_server: FakeMailServer, valkey: Valkey) -> Launched:
    """The consumer: it handles commands and wakes the worker, which is another process."""
    return await launch(
        service, role="consumer", BROKER="kafka", CELERY_BROKER_URL=valkey.url, **settings_for(mail_server)
    )


@pytest.fixture
def start(notification: Launched, users: FakeUserService, mail_server: FakeMailServer) -> Start:
    """`async with start():` runs a worker, `async with start("beat"):` the process that wakes tasks periodically."""
    settings = notification.instance.settings
    variables = {
        "DATABASE_URL": settings.database_url,
        "CELERY_BROKER_URL": settings.celery_broker_url,
        "SERVICE_KEY": SERVICE_KEY,
        "USER_URL": users.url,
    } | {name: str(value) for name, value in settings_for(mail_server).items()}

    @asynccontextmanager
    async def start(role: str = "worker", lease_seconds: float = 1) -> AsyncIterator[Process]:
        environment = os.environ | variables | {"PORT": str(reserve_port()), "LEASE_SECONDS": str(lease_seconds)}
        arguments = (sys.executable, "-m", "chassis.process.run", "notification", role)
        process = await asyncio.create_subprocess_exec(*arguments, env=environment, stdout=DEVNULL)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    return start


def kill(process: Process) -> None:
    """Kill the process without waiting for its end: the thread of the mail server calls this and must go on."""
    os.kill(process.pid, signal.SIGKILL)


async def until_sent(notification: Launched, count: int) -> None:
    async def sent() -> bool:
        async with notification.instance.database.work() as work:
            (row,) = await work.read("SELECT count(*) FROM outbox WHERE type = $1", NotificationSent.wire_type)
        return int(row["count"]) == count

    await until(sent, 60)


async def test_the_worker_sends_a_mail(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer, start: Start
) -> None:
    user_id = users.add_contact()
    async with start() as worker:
        await notification.broker.publish([notification.envelope(command(user_id))])
        await until_sent(notification, 1)
        worker.terminate()
        assert await asyncio.wait_for(worker.wait(), 15) == 0
    assert len(mail_server.to(user_id)) == 1


async def test_no_mail_is_lost_when_the_worker_is_killed_before_the_mail_server_keeps_it(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer, start: Start
) -> None:
    user_id = users.add_contact()
    async with start() as first:

        def kill_worker() -> None:
            mail_server.before_receipt = lambda: None
            kill(first)
            raise RuntimeError("the mail server does not keep the message")

        mail_server.before_receipt = kill_worker
        await notification.broker.publish([notification.envelope(command(user_id))])
        await first.wait()
    assert mail_server.to(user_id) == []
    assert (await mail_of(notification, user_id)).state == MailState.PENDING
    async with start(), start("beat"):
        await until_sent(notification, 1)
    assert len(mail_server.to(user_id)) == 1


async def test_a_worker_killed_before_it_records_the_result_sends_the_same_message_again(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer, start: Start
) -> None:
    user_id = users.add_contact()
    async with start() as first:

        def kill_worker() -> None:
            mail_server.before_reply = lambda: None
            kill(first)

        mail_server.before_reply = kill_worker
        await notification.broker.publish([notification.envelope(command(user_id))])
        await first.wait()
    assert len(mail_server.to(user_id)) == 1
    assert (await mail_of(notification, user_id)).state == MailState.PENDING
    async with start(), start("beat"):
        await until_sent(notification, 1)
    one, again = mail_server.to(user_id)
    assert one["Message-ID"] == again["Message-ID"]
    assert one["Date"] == again["Date"]


async def test_without_valkey_commands_are_accepted_and_mails_are_sent_when_it_is_back(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer, start: Start, valkey: Valkey
) -> None:
    recipients = [users.add_contact() for _ in range(3)]
    valkey.kill()
    await notification.broker.publish([notification.envelope(command(user_id)) for user_id in recipients])
    assert {mail.state for user_id in recipients if (mail := await mail_of(notification, user_id))} == {
        MailState.PENDING
    }
    async with start(), start("beat"):
        valkey.start()
        await until_sent(notification, len(recipients))
    assert [len(mail_server.to(user_id)) for user_id in recipients] == [1, 1, 1]


async def test_two_workers_share_the_mails_and_send_none_twice(
    notification: Launched, users: FakeUserService, mail_server: FakeMailServer, start: Start
) -> None:
    recipients = [users.add_contact() for _ in range(60)]
    await notification.broker.publish([notification.envelope(command(user_id)) for user_id in recipients])
    async with start(lease_seconds=60), start(lease_seconds=60), start("beat"):
        await until_sent(notification, len(recipients))
    assert [len(mail_server.to(user_id)) for user_id in recipients] == [1] * len(recipients)
