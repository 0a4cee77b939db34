"""What becomes of a mail, and the event that says so."""

import random
from contextlib import AbstractContextManager
from datetime import timedelta

from opentelemetry.trace import Span, SpanKind

from chassis.database import Causation, UnitOfWork
from chassis.telemetry import tracing
from contracts.notification import NotificationDropped, NotificationSent, Template
from notification.models import Mail, MailState

ADVERTISING = {Template.REVIEW_ASKED}


def sent(mail: Mail, work: UnitOfWork) -> None:
    _end(mail, MailState.SENT, work)


def dropped(mail: Mail, reason: str, work: UnitOfWork) -> None:
    mail.dropped_for = reason
    _end(mail, MailState.DROPPED, work)


def put_off(mail: Mail, reason: str, work: UnitOfWork) -> None:
    """Tried again after longer and longer, as the mail server asked for, until it is too late to be news."""
    settings = work.settings
    if work.now - mail.asked_at > timedelta(seconds=settings.give_up_seconds):
        return dropped(mail, reason, work)
    seconds = min(settings.first_retry_seconds * 2 ** min(mail.tries, 20), settings.most_retry_seconds)
    mail.tries += 1
    mail.due_at = work.now + timedelta(seconds=seconds * random.uniform(0.5, 1))


def announce(mail: Mail, work: UnitOfWork) -> None:
    """Say what has become of it, if that is known."""
    about = {"user_id": mail.user_id, "cause_id": mail.cause_id, "template": mail.template}
    if mail.state == MailState.SENT:
        work.send(NotificationSent(**about))
    elif mail.state == MailState.DROPPED:
        work.send(NotificationDropped(**about, reason=mail.dropped_for or ""))


def span_of(mail: Mail, name: str) -> AbstractContextManager[Span]:
    """In the trace of what the mail is about, rather than in that of the batch."""
    cause = Causation.from_row(mail)
    return tracing.span("notification", name, SpanKind.CLIENT, cause.traceparent if cause else None)


def _end(mail: Mail, state: MailState, work: UnitOfWork) -> None:
    mail.state, mail.due_at, mail.ended_at = state, None, work.now
    announce(mail, work)
