"""Background tasks: mails are sent through the mail server, and old mails are deleted.

1. A batch of due mails is leased, and the leases are committed.
2. Outside of any transaction the recipients are looked up, and the messages are rendered and sent.
3. The outcomes are recorded and published, for mails whose lease is still this worker's.

When a worker dies in between, the lease of its mails ends, and another worker sends them again, each under the same
Message-ID.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from email.message import EmailMessage

from chassis.database import Causation, UnitOfWork
from chassis.errors import Problem
from chassis.jobs import Tasks
from chassis.service import Runtime
from contracts import user_api
from contracts.notification import Template
from notification import mails, queries
from notification.config import NotificationSettings
from notification.errors import AddressUndeliverable
from notification.models import Mail
from notification.rendering import render_message
from notification.smtp import SendOutcome, send_messages

logger = logging.getLogger(__name__)
tasks = Tasks()
BATCH_SIZE = 50
DELETE_BATCH_SIZE = 1000


@tasks.every(seconds=15)  # for deferred mails, mails of a worker that died, and wake-ups that were lost
async def send_mails(runtime: Runtime[NotificationSettings]) -> None:
    leased = await lease_batch(runtime)
    rendered = await asyncio.gather(*(render_mail(mail, runtime) for mail in leased))
    messages = [(mail, it) for mail, it in zip(leased, rendered, strict=True) if isinstance(it, EmailMessage)]
    outcomes = [it for it in rendered if isinstance(it, SendOutcome)]
    if messages:
        outcomes += await send_messages(messages, runtime.settings)
    if outcomes:
        await record_outcomes(outcomes, runtime)


async def lease_batch(runtime: Runtime[NotificationSettings]) -> list[Mail]:
    """Take due mails for this worker, and drop those that their recipients have opted out of."""
    async with runtime.database.work() as work:
        due = await queries.due_mails(work, BATCH_SIZE)
        if len(due) == BATCH_SIZE:
            work.wake(send_mails)  # there may be more, for another worker that is idle
        advertising = [mail for mail in due if mail.template in mails.ADVERTISING]
        opted_out = await queries.opted_out(work, {mail.user_id for mail in advertising}) if advertising else set()
        unwanted = [mail for mail in advertising if mail.user_id in opted_out]
        for mail in due:
            mail.due_at = work.now + timedelta(seconds=runtime.settings.lease_seconds)
        for mail in unwanted:
            work.cause = Causation.from_row(mail)
            mails.record_dropped(mail, "unsubscribed", work)
    return [mail for mail in due if mail not in unwanted]


async def render_mail(mail: Mail, runtime: Runtime[NotificationSettings]) -> EmailMessage | SendOutcome:
    """The message, or the outcome where there is none.

    The recipient's name and address are read from the user service now, and are stored nowhere.
    """
    try:
        with mails.client_span(mail, "render mail"):
            recipient = await runtime.call(user_api.get_contact, as_service=True, account_id=mail.user_id)
            secret = None
            if mail.template == Template.PASSWORD_RESET:
                secret = (await runtime.call(user_api.get_reset_secret, as_service=True, reset_id=mail.about)).secret
    except user_api.AccountNotFound:
        return SendOutcome(mail, "dropped", "account_gone")
    except user_api.PasswordResetNotFound:
        return SendOutcome(mail, "dropped", "password_reset_expired")
    except Problem:
        return SendOutcome(mail, "not_attempted")
    try:
        return render_message(mail, recipient, secret, runtime.settings)
    except AddressUndeliverable:
        return SendOutcome(mail, "dropped", "address_undeliverable")
    except Exception:  # an error in one template must not stop the other mails; this one is sent when it is corrected
        logger.exception("a mail could not be rendered", extra={"mail_id": str(mail.id), "template": mail.template})
        return SendOutcome(mail, "deferred", "rendering_failed")


async def record_outcomes(outcomes: Sequence[SendOutcome], runtime: Runtime[NotificationSettings]) -> None:
    """Record the outcomes of mails that still exist and whose lease is still this worker's."""
    async with runtime.database.work() as work:
        await work.lock(Mail, id=[it.mail.id for it in outcomes])
        for it in outcomes:
            mail = work.get(Mail, it.mail.id)
            if mail is not None and mail.due_at == it.mail.due_at:  # else erased, or leased by another worker since
                work.cause = Causation.from_row(mail)
                _record_outcome(mail, it, work)


def _record_outcome(mail: Mail, outcome: SendOutcome, work: UnitOfWork[NotificationSettings]) -> None:
    match outcome.result:
        case "sent":
            mails.record_sent(mail, work)
        case "dropped":
            mails.record_dropped(mail, outcome.reason, work)
        case "deferred":
            mails.record_deferred(mail, outcome.reason, work)
        case "not_attempted":
            mail.due_at = work.now + timedelta(seconds=work.settings.first_retry_delay_seconds)


@tasks.every(seconds=3600)
async def delete_old_mails(runtime: Runtime[NotificationSettings]) -> None:
    """Delete mails after the retention time. Mails that old are not pending: they were sent or dropped long before."""
    deleted = DELETE_BATCH_SIZE
    while deleted == DELETE_BATCH_SIZE:
        async with runtime.database.work() as work:
            old = await queries.old_mails(work, runtime.settings.retention_seconds, DELETE_BATCH_SIZE)
            for mail in old:
                work.remove(mail)
        deleted = len(old)
