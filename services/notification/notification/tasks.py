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

from chassis.database import Causation, UnitOfWork
from chassis.errors import Problem
from chassis.jobs import Tasks
from chassis.service import Runtime
from contracts import user
from contracts.notification import Template
from notification import mails, queries
from notification.config import NotificationSettings
from notification.errors import AddressUnusable
from notification.letters import letter
from notification.models import Mail
from notification.post import Outcome, deliver

logger = logging.getLogger(__name__)
tasks = Tasks()
BATCH = 50
OLD_BATCH = 1000
GONE = {"account_not_found": "account_gone", "password_reset_not_found": "password_reset_over"}


@tasks.every(seconds=15)  # what was put off, and what a dead worker or a lost wake-up left
async def send_mails(runtime: Runtime) -> None:
    claimed = await claim(runtime)
    written = await asyncio.gather(*(write(mail, runtime) for mail in claimed))
    letters = [(mail, it) for mail, it in zip(claimed, written, strict=True) if isinstance(it, EmailMessage)]
    outcomes = [it for it in written if isinstance(it, Outcome)]
    if letters:
        outcomes += await deliver(letters, _settings(runtime))
    if outcomes:
        await record(outcomes, runtime)


async def claim(runtime: Runtime) -> list[Mail]:
    async with runtime.database.work() as work:
        found = await queries.due_mails(work, BATCH)
        if len(found) == BATCH:
            work.wake(send_mails)  # there may be more, and another worker may be free
        advertising = [mail for mail in found if mail.template in mails.ADVERTISING]
        unwilling = await queries.unwilling(work, {mail.user_id for mail in advertising}) if advertising else set()
        unwanted = [mail for mail in advertising if mail.user_id in unwilling]
        for mail in found:
            mail.due_at = work.now + timedelta(seconds=_settings(runtime).lease_seconds)
        for mail in unwanted:
            work.cause = Causation.from_row(mail)
            mails.dropped(mail, "not_wanted", work)
    return [mail for mail in found if mail not in unwanted]


async def write(mail: Mail, runtime: Runtime) -> EmailMessage | Outcome:
    """The letter, or why there is none. Its reader's name and address are asked for now and kept nowhere."""
    users = runtime.client(user.api, as_service=True)
    try:
        with mails.span_of(mail, "write mail"):
            reader = await users.get(f"/accounts/{mail.user_id}/contact", into=user.ContactView)
            secret = None
            if mail.template == Template.PASSWORD_RESET:
                secret = (await users.get(f"/password-resets/{mail.about}/secret", into=user.ResetSecretView)).secret
    except Problem as problem:
        return Outcome(mail, "dropped", GONE[problem.code]) if problem.code in GONE else Outcome(mail, "untried")
    try:
        return letter(mail, reader, secret, _settings(runtime))
    except AddressUnusable:
        return Outcome(mail, "dropped", "address_unusable")
    except Exception:  # a fault of the template must not hold up the others; when it is mended, the mail goes out
        logger.exception("a letter cannot be written", extra={"mail_id": str(mail.id), "template": mail.template})
        return Outcome(mail, "put_off", "not_written")


async def record(outcomes: Sequence[Outcome], runtime: Runtime) -> None:
    async with runtime.database.work() as work:
        await work.lock(Mail, id=[it.mail.id for it in outcomes])
        for it in outcomes:
            mail = work.get(Mail, it.mail.id)
            if mail is not None and mail.due_at == it.mail.due_at:  # else erased, or another's since our lease ended
                work.cause = Causation.from_row(mail)
                _record(mail, it, work)


def _record(mail: Mail, outcome: Outcome, work: UnitOfWork) -> None:
    match outcome.fate:
        case "sent":
            mails.sent(mail, work)
        case "dropped":
            mails.dropped(mail, outcome.reason, work)
        case "put_off":
            mails.put_off(mail, outcome.reason, work)
        case "untried":
            mail.due_at = work.now + timedelta(seconds=work.settings.first_retry_seconds)


@tasks.every(seconds=3600)
async def forget_old_mails(runtime: Runtime) -> None:
    """Pending ones have been given up long before."""
    forgotten = OLD_BATCH
    while forgotten == OLD_BATCH:
        async with runtime.database.work() as work:
            old = await queries.old_mails(work, _settings(runtime).kept_seconds, OLD_BATCH)
            for mail in old:
                work.remove(mail)
        forgotten = len(old)


def _settings(runtime: Runtime) -> NotificationSettings:
    return cast(NotificationSettings, runtime.settings)
