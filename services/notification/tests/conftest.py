"""Notification between a real mail server and a fake user service."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast
from uuid import UUID

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from chassis.database import new_id
from chassis.process.ports import reserve_port
from chassis.testing import Launch, Launched
from contracts.notification import Notify, Template
from ledger.fakes import FakeUserService, serving
from notification.main import service
from notification.models import Mail

FROM = "The shop <shop@shop.example>"
SHOP = "https://shop.example"
NO_REPLY = "no reply"  # among `refusals`: the mail server does not reply, and the client's time-out ends the connection


def address(user_id: UUID) -> str:
    return f"{user_id}@example.org"


@pytest.fixture
async def users(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeUserService]:
    """After `launch`, which sets USER_URL to a server that has the keys alone."""
    users = FakeUserService("notification")
    monkeypatch.setenv("USER_URL", users.url)
    async with serving(users):
        yield users


class FakeMailServer:
    """A mail server. `refusals` are its replies to a recipient, one per try; then it accepts the message."""

    def __init__(self) -> None:
        self.port = reserve_port()
        self.received: list[EmailMessage] = []
        self.raw: list[bytes] = []
        self.refusals: dict[str, list[str]] = defaultdict(list)
        self.before_receipt: Callable[[], None] = lambda: None  # the message has arrived, and is not kept yet
        self.before_reply: Callable[[], None] = lambda: None  # the message is kept, and the reply has not left yet
        self.connections = 0
        self._controller: Controller | None = None

    def to(self, user_id: UUID) -> list[EmailMessage]:
        return [message for message in self.received if address(user_id) in message["To"]]

    def start(self) -> None:
        self._controller = Controller(self, "127.0.0.1", self.port)
        self._controller.start()

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.connections += 1
        session.host_name = hostname
        return responses

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if replies := self.refusals[address]:
            reply = replies.pop(0)
            if reply != NO_REPLY:
                return reply
            await asyncio.Event().wait()
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.before_receipt()
        self.raw.append(content := cast(bytes, envelope.content))
        self.received.append(message_from_bytes(content, policy=policy.default))
        self.before_reply()
        return "250 accepted"


@pytest.fixture
def mail_server() -> Iterator[FakeMailServer]:
    mail_server = FakeMailServer()
    mail_server.start()
    yield mail_server
    mail_server.stop()


def settings_for(mail_server: FakeMailServer) -> dict[str, Any]:
    """Notification's settings beside this mail server. Deferred mails are tried again soon."""
    return {
        "SMTP_PORT": mail_server.port,
        "SMTP_FROM": FROM,
        "SHOP_URL": SHOP,
        "FIRST_RETRY_DELAY_SECONDS": 0.2,
    }


@pytest.fixture
async def notification(launch: Launch, users: FakeUserService, mail_server: FakeMailServer) -> Launched:
    return await launch(service, **settings_for(mail_server))


def command(user_id: UUID, template: Template = Template.WELCOME, **about: Any) -> Notify:
    return Notify(user_id=user_id, cause_id=about.pop("cause_id", None) or new_id(), template=template, **about)


async def mail_of(notification: Launched, user_id: UUID) -> Mail:
    (mail,) = [mail for mail in await notification.rows(Mail) if mail.user_id == user_id]
    return mail
