"""The mail server: accepts mail for every address on SIMULATORS_MAIL_PORT, and shows it on `GET /mails?to=…`.

The part before the @ decides how a mailbox behaves (`MAILBOXES`), beside the fault rates that hold for all mails.
"""

import asyncio
import time
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Literal, cast

from aiosmtpd.smtp import SMTP, Envelope, Session
from fastapi import APIRouter

from simulators.simulation import CurrentSimulation, Simulation

router = APIRouter()

MAILBOXES: dict[str, Literal["full", "gone", "slow"]] = {
    "full": "full",  # 452 for each mail at its first try
    "gone": "gone",  # 550
    "slow": "slow",  # accepts a mail only after `slow_seconds`
}
BUSY = "451 4.3.0 Try again later"


@router.get("/mails")
async def list_mails(simulation: CurrentSimulation, to: str, limit: int = 50) -> list[dict[str, Any]]:
    """The mails of a mailbox, newest first, as text, HTML and headers."""
    return simulation.execute("SELECT * FROM mails WHERE recipient = ? ORDER BY id DESC LIMIT ?", to.lower(), limit)


async def serve(simulation: Simulation, host: str, port: int) -> asyncio.Server:
    mailboxes = Mailboxes(simulation)
    return await asyncio.get_running_loop().create_server(
        lambda: SMTP(mailboxes, enable_SMTPUTF8=True, hostname="mail.example"), host, port
    )


class Mailboxes:
    """The hooks that aiosmtpd calls."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if MAILBOXES.get(address.partition("@")[0]) == "gone":
            return "550 5.1.1 There is no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        settings = self._simulation.settings
        message = message_from_bytes(cast(bytes, envelope.content), policy=policy.default)
        behaviour = MAILBOXES.get(envelope.rcpt_tos[0].partition("@")[0])
        if behaviour == "full" and self._simulation.is_first_request(f"mail {message['Message-ID']}"):
            return "452 4.2.2 The mailbox is full"
        fault = settings.faults.draw_fault(self._simulation.random)
        if fault == "unavailable":
            return BUSY
        if behaviour == "slow" or fault == "slow":
            await asyncio.sleep(settings.slow_seconds)
        elif fault == "late":
            await asyncio.sleep(settings.late_seconds)
        self._store(message, envelope)
        return BUSY if fault == "breaks" else "250 2.0.0 Accepted"

    def _store(self, message: EmailMessage, envelope: Envelope) -> None:
        for recipient in envelope.rcpt_tos:
            self._simulation.execute(
                "INSERT INTO mails (recipient, sender, message_id, subject, headers, text, html, at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                recipient.lower(),
                envelope.mail_from,
                message["Message-ID"],
                message["Subject"],
                "\n".join(f"{name}: {value}" for name, value in message.items()),
                _part(message, "plain"),
                _part(message, "html"),
                time.time(),
            )


def _part(message: EmailMessage, kind: Literal["plain", "html"]) -> str | None:
    part = message.get_body([kind])
    return None if part is None else part.get_content()
