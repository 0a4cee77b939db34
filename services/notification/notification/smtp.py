"""The way to the mail server: many messages over one connection, and what it says to each."""

import logging
import time
from collections.abc import Iterable
from email.message import EmailMessage
from typing import Literal, NamedTuple

from aiosmtplib import (
    SMTP,
    SMTPDataError,
    SMTPException,
    SMTPRecipientsRefused,
    SMTPServerDisconnected,
    SMTPTimeoutError,
)

from chassis.logs import Trouble
from notification.config import NotificationSettings
from notification.mails import client_span
from notification.models import Mail

outage = Trouble("the mail server", logging.getLogger(__name__))


class SendOutcome(NamedTuple):
    """`put_off` is for the mail alone; `untried` says nothing of it, and leaves it as it was."""

    mail: Mail
    result: Literal["sent", "dropped", "deferred", "not_attempted"]
    reason: str = ""


async def send_messages(
    letters: Iterable[tuple[Mail, EmailMessage]], settings: NotificationSettings
) -> list[SendOutcome]:
    """Send them one after another for half of the lease. What is left then, or when the server fails, is untried."""
    outcomes: list[SendOutcome] = []
    until = time.monotonic() + settings.lease_seconds / 2
    server, failed = _client(settings), False
    for mail, message in letters:
        if failed or time.monotonic() > until:
            outcomes.append(SendOutcome(mail, "not_attempted"))
            continue
        try:
            with client_span(mail, "send mail"):
                if not server.is_connected:
                    await server.connect()
                outcomes.append(await _send_message(server, mail, message))
            outage.ends()
        except (SMTPException, OSError) as error:  # the server itself: away, or it does not want us
            outage.begins(error)
            outcomes.append(SendOutcome(mail, "not_attempted"))
            failed = True
    if server.is_connected:
        await _quit(server)
    return outcomes


async def _send_message(server: SMTP, mail: Mail, message: EmailMessage) -> SendOutcome:
    try:
        to = message["To"].addresses[0].addr_spec
        await server.sendmail(message["From"].addresses[0].addr_spec, to, message.as_bytes())
        return SendOutcome(mail, "sent")
    except SMTPRecipientsRefused as error:
        return _refused(mail, error.recipients[0].code)
    except SMTPDataError as error:
        return _refused(mail, error.code)
    except (SMTPServerDisconnected, SMTPTimeoutError):  # in the middle of this one: it may be what it chokes on
        server.close()
        return SendOutcome(mail, "deferred", "connection_lost")


def _refused(mail: Mail, code: int) -> SendOutcome:
    """4yz is for now, 5yz for good. RFC 5321, 4.2.1"""
    return SendOutcome(mail, "dropped" if code >= 500 else "deferred", f"smtp_{code}")


async def _quit(server: SMTP) -> None:
    try:
        await server.quit()
    except (SMTPException, OSError):
        server.close()


def _client(settings: NotificationSettings) -> SMTP:
    return SMTP(
        hostname=settings.smtp_host,
        port=settings.smtp_port,
        username=settings.smtp_user or None,
        password=settings.smtp_password or None,
        timeout=settings.smtp_timeout_seconds,
        use_tls=settings.smtp_security == "tls",
        start_tls=settings.smtp_security == "starttls",
    )
