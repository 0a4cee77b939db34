"""Sending over SMTP: the messages of a batch over one connection, and the outcome of each."""

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
from notification.mails import client_span
from notification.models import Mail

outage = Outage("the mail server", logging.getLogger(__name__))


class SendOutcome(NamedTuple):
    """The result of one try, with the words of RFC 5321 where it has one.

    *deferred* is about this mail: it counts as a try and is repeated later. *not_attempted* is about others, such as a
    mail server that is down: nothing is known of this mail, so the try does not count. *dropped* is final; a mail that
    the mail server refuses for good is said to bounce.
    """

    mail: Mail
    result: Literal["sent", "dropped", "deferred", "not_attempted"]
    reason: str = ""


async def send_messages(
    messages: Iterable[tuple[Mail, EmailMessage]], settings: NotificationSettings
) -> list[SendOutcome]:
    """Send the messages one after another, for at most half of the lease.

    Messages that are left then, or when the mail server fails, are not attempted.
    """
    outcomes: list[SendOutcome] = []
    stop_at = time.monotonic() + settings.lease_seconds / 2
    client, failed = _smtp_client(settings), False
    for mail, message in messages:
        if failed or time.monotonic() > stop_at:
            outcomes.append(SendOutcome(mail, "not_attempted"))
            continue
        try:
            with client_span(mail, "send mail"):
                if not client.is_connected:
                    await client.connect()
                outcomes.append(await _send_message(client, mail, message))
            outage.end()
        except (SMTPException, OSError) as error:  # the server itself: it is down, or it refuses this client
            outage.begin(error)
            outcomes.append(SendOutcome(mail, "not_attempted"))
            failed = True
    if client.is_connected:
        await _quit(client)
    return outcomes


async def _send_message(client: SMTP, mail: Mail, message: EmailMessage) -> SendOutcome:
    try:
        recipient = message["To"].addresses[0].addr_spec
        await client.sendmail(message["From"].addresses[0].addr_spec, recipient, message.as_bytes())
        return SendOutcome(mail, "sent")
    except SMTPRecipientsRefused as error:
        return _refused(mail, error.recipients[0].code)
    except SMTPDataError as error:
        return _refused(mail, error.code)
    except (SMTPServerDisconnected, SMTPTimeoutError):  # during this message, which may itself be the reason
        client.close()
        return SendOutcome(mail, "deferred", "connection_lost")


def _refused(mail: Mail, code: int) -> SendOutcome:
    """A 4yz reply is transient, a 5yz reply is permanent. RFC 5321, 4.2.1"""
    return SendOutcome(mail, "dropped" if code >= 500 else "deferred", f"smtp_{code}")


async def _quit(client: SMTP) -> None:
    try:
        await client.quit()
    except (SMTPException, OSError):
        client.close()


def _smtp_client(settings: NotificationSettings) -> SMTP:
    return SMTP(
        hostname=settings.smtp_host,
        port=settings.smtp_port,
        username=settings.smtp_user or None,
        password=settings.smtp_password or None,
        timeout=settings.smtp_timeout_seconds,
        use_tls=settings.smtp_security == "tls",
        start_tls=settings.smtp_security == "starttls",
    )
