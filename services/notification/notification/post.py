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

from chassis.telemetry import Outage
from notification.config import NotificationSettings
from notification.mails import span_of
from notification.models import Mail

outage = Outage("the mail server", logging.getLogger(__name__))


class Outcome(NamedTuple):
    """`put_off` is for the mail alone; `untried` says nothing of it, and leaves it as it was."""

    mail: Mail
    fate: Literal["sent", "dropped", "put_off", "untried"]
    reason: str = ""


async def deliver(letters: Iterable[tuple[Mail, EmailMessage]], settings: NotificationSettings) -> list[Outcome]:
    """Send them one after another for half of the lease. What is left then, or when the server fails, is untried."""
    outcomes: list[Outcome] = []
    until = time.monotonic() + settings.lease_seconds / 2
    server, failed = _server(settings), False
    for mail, message in letters:
        if failed or time.monotonic() > until:
            outcomes.append(Outcome(mail, "untried"))
            continue
        try:
            with span_of(mail, "send mail"):
                if not server.is_connected:
                    await server.connect()
                outcomes.append(await _deliver(server, mail, message))
            outage.end()
        except (SMTPException, OSError) as error:  # the server itself: away, or it does not want us
            outage.begin(error)
            outcomes.append(Outcome(mail, "untried"))
            failed = True
    if server.is_connected:
        await _leave(server)
    return outcomes


async def _deliver(server: SMTP, mail: Mail, message: EmailMessage) -> Outcome:
    try:
        to = message["To"].addresses[0].addr_spec
        await server.sendmail(message["From"].addresses[0].addr_spec, to, message.as_bytes())
        return Outcome(mail, "sent")
    except SMTPRecipientsRefused as error:
        return _refused(mail, error.recipients[0].code)
    except SMTPDataError as error:
        return _refused(mail, error.code)
    except (SMTPServerDisconnected, SMTPTimeoutError):  # in the middle of this one: it may be what it chokes on
        server.close()
        return Outcome(mail, "put_off", "broken_off")


def _refused(mail: Mail, code: int) -> Outcome:
    """4yz is for now, 5yz for good. RFC 5321, 4.2.1"""
    return Outcome(mail, "dropped" if code >= 500 else "put_off", f"refused_{code}")


async def _leave(server: SMTP) -> None:
    try:
        await server.quit()
    except (SMTPException, OSError):
        server.close()


def _server(settings: NotificationSettings) -> SMTP:
    return SMTP(
        hostname=settings.smtp_host,
        port=settings.smtp_port,
        username=settings.smtp_user or None,
        password=settings.smtp_password or None,
        timeout=settings.smtp_timeout_seconds,
        use_tls=settings.smtp_security == "tls",
        start_tls=settings.smtp_security == "starttls",
    )
