"""Notification between its two neighbours: a real mail server, and the user service as a small HTTP server."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, cast
from uuid import UUID

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey

from chassis.tables import new_id
from chassis.testing import ISSUER_KEY, SERVICE_KEY, Launch, Launched, free_port
from contracts.notification import Notify, Template
from notification.main import service
from notification.models import Mail

FROM = "The shop <shop@shop.example>"
SHOP = "https://shop.example"
SLOW_SECONDS = 4


class FakeUserService(ThreadingHTTPServer):
    """The part of the user service that is met here: contacts and secrets for services, and the keys of tokens."""

    request_queue_size = 100

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _UserServiceHandler)
        self.answers: dict[str, Any] = {"/.well-known/jwks.json": KeySet([ISSUER_KEY]).as_dict(private=False)}
        self.away = False
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, email: str = "", name: str = "Ada Lovelace") -> UUID:
        id = new_id()
        self.answers[f"/accounts/{id}/contact"] = {"email": email or address(id), "name": name}
        return id


def address(user_id: UUID) -> str:
    return f"{user_id}@example.org"


class _UserServiceHandler(BaseHTTPRequestHandler):
    server: FakeUserService

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        status, answer = self.answer()
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self) -> tuple[int, Any]:
        if self.path.endswith(("/contact", "/secret")):
            if self.server.away:
                return 503, {}
            token = jwt.decode(self.headers["authorization"].removeprefix("Bearer "), OctKey.import_key(SERVICE_KEY))
            assert (token.claims["sub"], token.claims["roles"]) == ("notification", ["service"])
        if self.path in self.server.answers:
            return 200, self.server.answers[self.path]
        what = "account" if self.path.endswith("/contact") else "password_reset"
        return 404, {"code": f"{what}_not_found", "detail": "There is none."}

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def users(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeUserService]:
    """After `launch`, which names a server for the keys alone."""
    with FakeUserService() as users:
        Thread(target=users.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        monkeypatch.setenv("USER_URL", users.url)
        yield users
        users.shutdown()


class FakeMailServer:
    """A mail server. It answers what a test wants it to: in `refusals` to a recipient, one time after the other."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received: list[EmailMessage] = []
        self.raw: list[bytes] = []
        self.refusals: dict[str, list[str]] = defaultdict(list)
        self.before: Callable[[], None] = lambda: None  # it has taken the message, and answers
        self.after: Callable[[], None] = lambda: None
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
        if told := self.refusals[address]:
            answer = told.pop(0)
            if answer == "slow":
                await asyncio.sleep(SLOW_SECONDS)
            else:
                return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.before()
        self.raw.append(content := cast(bytes, envelope.content))
        self.received.append(message_from_bytes(content, policy=policy.default))
        self.after()
        return "250 taken"


@pytest.fixture
def mail_server() -> Iterator[FakeMailServer]:
    mail_server = FakeMailServer()
    mail_server.start()
    yield mail_server
    mail_server.stop()


def settings_for(mail_server: FakeMailServer) -> dict[str, Any]:
    """What notification is told of these neighbours."""
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


async def mail_of(it: Launched, user_id: UUID) -> Mail:
    (mail,) = [mail for mail in await it.rows(Mail) if mail.user_id == user_id]
    return mail
