"""The slow work: mails leave through the mail server, and old ones are forgotten.

1. A batch is claimed: its rows get a lease, and that is committed.
2. Outside of any transaction its readers are asked for, the letters are written and sent.
3. What came out is recorded and announced, where the lease is still ours.

A worker that dies in between leaves rows whose lease ends: the mail is sent again, under the same Message-ID.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from email.message import EmailMessage
from typing import cast

from chassis.errors import Problem
from chassis.service import Runtime
from chassis.tasks import Tasks
from chassis.work import Cause, UnitOfWork
from contracts import user
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
DROP_REASONS = {"account_not_found": "account_gone", "password_reset_not_found": "password_reset_expired"}


@tasks.every(seconds=15)  # what was put off, and what a dead worker or a lost wake-up left
async def send_mails(runtime: Runtime) -> None:
    claimed = await lease_batch(runtime)
    written = await asyncio.gather(*(render_mail(mail, runtime) for mail in claimed))
    letters = [(mail, it) for mail, it in zip(claimed, written, strict=True) if isinstance(it, EmailMessage)]
    outcomes = [it for it in written if isinstance(it, SendOutcome)]
    if letters:
        outcomes += await send_messages(letters, _settings(runtime))
    if outcomes:
        await record_outcomes(outcomes, runtime)


async def lease_batch(runtime: Runtime) -> list[Mail]:
    async with runtime.database.work() as work:
        found = await queries.due_mails(work, BATCH_SIZE)
        if len(found) == BATCH_SIZE:
            work.wake("send_mails")  # there may be more, and another worker may be free
        advertising = [mail for mail in found if mail.template in mails.ADVERTISING]
        opted_out = await queries.opted_out(work, {mail.user_id for mail in advertising}) if advertising else set()
        unwanted = [mail for mail in advertising if mail.user_id in opted_out]
        for mail in found:
            mail.due_at = work.now + timedelta(seconds=_settings(runtime).lease_seconds)
        for mail in unwanted:
            work.cause = Cause.kept_by(mail)
            mails.record_dropped(mail, "unsubscribed", work)
    return [mail for mail in found if mail not in unwanted]


async def render_mail(mail: Mail, runtime: Runtime) -> EmailMessage | SendOutcome:
    """The letter, or why there is none. Its reader's name and address are asked for now and kept nowhere."""
    users = runtime.client(user.api, as_service=True)
    try:
        with mails.client_span(mail, "write mail"):
            reader = await users.get(f"/accounts/{mail.user_id}/contact", into=user.ContactView)
            secret = None
            if mail.template == Template.PASSWORD_RESET:
                secret = (await users.get(f"/password-resets/{mail.about}/secret", into=user.ResetSecretView)).secret
    except Problem as problem:
        return (
            SendOutcome(mail, "dropped", DROP_REASONS[problem.code])
            if problem.code in DROP_REASONS
            else SendOutcome(mail, "not_attempted")
        )
    try:
        return render_message(mail, reader, secret, _settings(runtime))
    except AddressUndeliverable:
        return SendOutcome(mail, "dropped", "address_undeliverable")
    except Exception:  # a fault of the template must not hold up the others; when it is mended, the mail goes out
        logger.exception("a letter cannot be written", extra={"mail_id": str(mail.id), "template": mail.template})
        return SendOutcome(mail, "deferred", "rendering_failed")


async def record_outcomes(outcomes: Sequence[SendOutcome], runtime: Runtime) -> None:
    async with runtime.database.work() as work:
        await work.lock(Mail, id=[it.mail.id for it in outcomes])
        for it in outcomes:
            mail = work.get(Mail, it.mail.id)
            if mail is not None and mail.due_at == it.mail.due_at:  # else erased, or another's since our lease ended
                work.cause = Cause.kept_by(mail)
                _record_outcome(mail, it, work)


def _record_outcome(mail: Mail, outcome: SendOutcome, work: UnitOfWork) -> None:
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
async def delete_old_mails(runtime: Runtime) -> None:
    """Pending ones have been given up long before."""
    forgotten = DELETE_BATCH_SIZE
    while forgotten == DELETE_BATCH_SIZE:
        async with runtime.database.work() as work:
            old = await queries.old_mails(work, _settings(runtime).retention_seconds, DELETE_BATCH_SIZE)
            for mail in old:
                work.remove(mail)
        forgotten = len(old)


def _settings(runtime: Runtime) -> NotificationSettings:
    return cast(NotificationSettings, runtime.settings)
