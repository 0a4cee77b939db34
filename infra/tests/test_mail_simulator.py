"""The mail simulator as a process on a real port: mails that it accepts, refuses, and accepts with an error."""

from collections.abc import AsyncIterator, Iterator
from email.message import EmailMessage
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiosmtplib import SMTP, SMTPDataError, SMTPRecipientsRefused

from chassis.process.ports import reserve_port
from simulators.server import Simulators

from .simulator_client import change_settings


@pytest.fixture(scope="module")
def simulators() -> Iterator[Simulators]:
    server = Simulators.temporary()
    server.settings = {"SIMULATORS_MAIL_PORT": str(reserve_port()), "SLOW_SECONDS": "0.3"}
    with server:
        yield server


@pytest.fixture
async def http(simulators: Simulators) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=simulators.url) as client:
        await change_settings(client, faults="none", slow_seconds=0.3)
        yield client


@pytest.fixture
async def smtp(simulators: Simulators) -> AsyncIterator[SMTP]:
    port = int(simulators.settings["SIMULATORS_MAIL_PORT"])
    async with SMTP(hostname="127.0.0.1", port=port, timeout=5) as server:
        yield server


def a_mail(to: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "shop@example.org", to, "Grüße"
    message["Message-ID"] = f"<{uuid4()}@example.org>"
    message.set_content("Hello")
    message.add_alternative("<p>Hello</p>", subtype="html")
    return message


async def stored_mails(http: httpx.AsyncClient, to: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await http.get("/mails", params={"to": to})).json()
    return found


async def test_the_mails_of_a_mailbox_are_listed_newest_first(
    http: httpx.AsyncClient, smtp: SMTP, simulators: Simulators
) -> None:
    to = f"{uuid4()}@example.org"
    first, second = a_mail(to.upper()), a_mail(to)
    await smtp.send_message(first)
    await smtp.send_message(second)
    simulators.kill()
    simulators.start()
    newest, oldest = await stored_mails(http, to)
    assert [newest["message_id"], oldest["message_id"]] == [second["Message-ID"], first["Message-ID"]]
    assert (newest["subject"], newest["text"].strip(), newest["html"].strip()) == ("Grüße", "Hello", "<p>Hello</p>")
    assert "From: shop@example.org" in newest["headers"]
    assert await stored_mails(http, "unknown@example.org") == []


async def test_a_mailbox_that_is_gone_is_refused_for_good(http: httpx.AsyncClient, smtp: SMTP) -> None:
    with pytest.raises(SMTPRecipientsRefused) as refused:
        await smtp.send_message(a_mail("gone@example.org"))
    assert refused.value.recipients[0].code == 550
    assert await stored_mails(http, "gone@example.org") == []


async def test_a_full_mailbox_accepts_a_mail_at_its_second_try(http: httpx.AsyncClient, smtp: SMTP) -> None:
    message = a_mail("full@example.org")
    with pytest.raises(SMTPDataError) as refused:
        await smtp.send_message(message)
    assert refused.value.code == 452
    await smtp.send_message(message)
    assert [it["message_id"] for it in await stored_mails(http, "full@example.org")] == [message["Message-ID"]]


async def test_a_slow_mailbox_answers_after_the_time_out_of_the_client(http: httpx.AsyncClient, smtp: SMTP) -> None:
    await change_settings(http, slow_seconds=3)
    smtp.timeout = 0.2
    with pytest.raises(TimeoutError):
        await smtp.send_message(a_mail("slow@example.org"))


@pytest.mark.parametrize(("fault", "accepted"), [("unavailable", 0), ("breaks", 1)])
async def test_fault_rates_hold_for_mail_too(http: httpx.AsyncClient, smtp: SMTP, fault: str, accepted: int) -> None:
    to = f"{uuid4()}@example.org"
    await change_settings(http, faults={fault: 1})
    with pytest.raises(SMTPDataError) as refused:
        await smtp.send_message(a_mail(to))
    assert refused.value.code == 451
    assert len(await stored_mails(http, to)) == accepted
