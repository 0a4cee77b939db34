"""The mail servers of the outside world, as a process on a real port: what they take, refuse, and take twice."""

from collections.abc import AsyncIterator, Iterator
from email.message import EmailMessage
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiosmtplib import SMTP, SMTPDataError, SMTPRecipientsRefused

from local.server import free_port
from simulators.server import Simulators


@pytest.fixture(scope="module")
def outside() -> Iterator[Simulators]:
    server = Simulators.temporary()
    server.settings = {"SIMULATORS_MAIL_PORT": str(free_port()), "SLOW_SECONDS": "0.3"}
    with server:
        yield server


@pytest.fixture
async def http(outside: Simulators) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=outside.url) as client:
        await client.put("/settings", json={"faults": "kind", "slow_seconds": 0.3})
        yield client


@pytest.fixture
async def smtp(outside: Simulators) -> AsyncIterator[SMTP]:
    async with SMTP(hostname="127.0.0.1", port=int(outside.settings["SIMULATORS_MAIL_PORT"]), timeout=5) as server:
        yield server


def a_mail(to: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "shop@example.org", to, "Grüße"
    message["Message-ID"] = f"<{uuid4()}@example.org>"
    message.set_content("Hello")
    message.add_alternative("<p>Hello</p>", subtype="html")
    return message


async def held(http: httpx.AsyncClient, to: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await http.get("/mails", params={"to": to})).json()
    return found


async def test_what_a_mailbox_got_is_shown_newest_first(
    http: httpx.AsyncClient, smtp: SMTP, outside: Simulators
) -> None:
    to = f"{uuid4()}@example.org"
    first, second = a_mail(to.upper()), a_mail(to)
    await smtp.send_message(first)
    await smtp.send_message(second)
    outside.kill()
    outside.start()
    newest, oldest = await held(http, to)
    assert [newest["message_id"], oldest["message_id"]] == [second["Message-ID"], first["Message-ID"]]
    assert (newest["subject"], newest["text"].strip(), newest["html"].strip()) == ("Grüße", "Hello", "<p>Hello</p>")
    assert "From: shop@example.org" in newest["headers"]
    assert await held(http, "nobody@example.org") == []


async def test_a_mailbox_that_is_gone_is_refused_for_good(http: httpx.AsyncClient, smtp: SMTP) -> None:
    with pytest.raises(SMTPRecipientsRefused) as refused:
        await smtp.send_message(a_mail("gone@example.org"))
    assert refused.value.recipients[0].code == 550
    assert await held(http, "gone@example.org") == []


async def test_a_full_mailbox_takes_a_mail_at_its_second_try(http: httpx.AsyncClient, smtp: SMTP) -> None:
    message = a_mail("full@example.org")
    with pytest.raises(SMTPDataError) as refused:
        await smtp.send_message(message)
    assert refused.value.code == 452
    await smtp.send_message(message)
    assert [it["message_id"] for it in await held(http, "full@example.org")] == [message["Message-ID"]]


async def test_a_slow_mailbox_answers_when_nobody_may_wait_any_more(http: httpx.AsyncClient, smtp: SMTP) -> None:
    await http.put("/settings", json={"slow_seconds": 3})
    smtp.timeout = 0.2
    with pytest.raises(TimeoutError):
        await smtp.send_message(a_mail("slow@example.org"))


@pytest.mark.parametrize(("fault", "taken"), [("unavailable", 0), ("breaks", 1)])
async def test_the_mood_of_the_world_befalls_mail_too(
    http: httpx.AsyncClient, smtp: SMTP, fault: str, taken: int
) -> None:
    to = f"{uuid4()}@example.org"
    await http.put("/settings", json={"faults": {fault: 1}})
    with pytest.raises(SMTPDataError) as refused:
        await smtp.send_message(a_mail(to))
    assert refused.value.code == 451
    assert len(await held(http, to)) == taken
