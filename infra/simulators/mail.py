"""The mail servers of the world: one that takes everything on SIMULATORS_MAIL_PORT, and shows it on `GET /mails?to=…`.

What is before the @ says how a mailbox behaves (`MAILBOXES`); the faults of the world befalls all of them.
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
    "slow": "slow",  # takes mails only after `slow_seconds`
}
BUSY = "451 4.3.0 Try again later"


@router.get("/mails")
async def mails(world: CurrentSimulation, to: str, limit: int = 50) -> list[dict[str, Any]]:
    """What a mailbox holds, the newest first, as text, HTML and headers."""
    return world.rows("SELECT * FROM mails WHERE recipient = ? ORDER BY id DESC LIMIT ?", to.lower(), limit)


async def serve(world: Simulation, host: str, port: int) -> asyncio.Server:
    mailboxes = Mailboxes(world)
    return await asyncio.get_running_loop().create_server(
        lambda: SMTP(mailboxes, enable_SMTPUTF8=True, hostname="mail.example"), host, port
    )


class Mailboxes:
    """The hooks that aiosmtpd calls."""

    def __init__(self, world: Simulation) -> None:
        self._world = world

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if MAILBOXES.get(address.partition("@")[0]) == "gone":
            return "550 5.1.1 There is no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        world, settings = self._world, self._world.settings
        message = message_from_bytes(cast(bytes, envelope.content), policy=policy.default)
        habit = MAILBOXES.get(envelope.rcpt_tos[0].partition("@")[0])
        if habit == "full" and self._is_first_try(message):
            return "452 4.2.2 The mailbox is full"
        fault = world.settings.faults.fault(world.chance)
        if fault == "unavailable":
            return BUSY
        if habit == "slow" or fault == "slow":
            await asyncio.sleep(settings.slow_seconds)
        elif fault == "late":
            await asyncio.sleep(settings.late_seconds)
        self._keep(message, envelope)
        return BUSY if fault == "breaks" else "250 2.0.0 Taken"

    def _is_first_try(self, message: EmailMessage) -> bool:
        return bool(
            self._world.rows(
                "INSERT INTO requests (key, request, asked, at) VALUES (?, 'mail', 1, ?)"
                " ON CONFLICT (key) DO NOTHING RETURNING key",
                f"mail {message['Message-ID']}",
                time.time(),
            )
        )

    def _keep(self, message: EmailMessage, envelope: Envelope) -> None:
        for recipient in envelope.rcpt_tos:
            self._world.rows(
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
