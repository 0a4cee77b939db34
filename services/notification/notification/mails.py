"""What becomes of a mail, and the event that says so."""

import random
from contextlib import AbstractContextManager
from datetime import timedelta

from opentelemetry.trace import Span, SpanKind

from chassis import tracing
from chassis.work import Cause, UnitOfWork
from contracts.notification import NotificationDropped, NotificationSent, Template
from notification.models import Mail, MailState

ADVERTISING = {Template.REVIEW_ASKED}


def record_sent(mail: Mail, work: UnitOfWork) -> None:
    _finish(mail, MailState.SENT, work)


def record_dropped(mail: Mail, reason: str, work: UnitOfWork) -> None:
    mail.drop_reason = reason
    _finish(mail, MailState.DROPPED, work)


def record_deferred(mail: Mail, reason: str, work: UnitOfWork) -> None:
    """Tried again after longer and longer, as the mail server asked for, until it is too late to be news."""
    settings = work.settings
    if work.now - mail.requested_at > timedelta(seconds=settings.max_queue_seconds):
        return record_dropped(mail, reason, work)
    seconds = min(settings.first_retry_delay_seconds * 2 ** min(mail.deferrals, 20), settings.max_retry_delay_seconds)
    mail.deferrals += 1
    mail.due_at = work.now + timedelta(seconds=seconds * random.uniform(0.5, 1))


def publish_result(mail: Mail, work: UnitOfWork) -> None:
    """Say what has become of it, if that is known."""
    about = {"user_id": mail.user_id, "cause_id": mail.cause_id, "template": mail.template}
    if mail.state == MailState.SENT:
        work.send(NotificationSent(**about))
    elif mail.state == MailState.DROPPED:
        work.send(NotificationDropped(**about, reason=mail.drop_reason or ""))


def client_span(mail: Mail, name: str) -> AbstractContextManager[Span]:
    """In the trace of what the mail is about, rather than in that of the batch."""
    cause = Cause.kept_by(mail)
    return tracing.span("notification", name, SpanKind.CLIENT, cause.traceparent if cause else None)


def _finish(mail: Mail, state: MailState, work: UnitOfWork) -> None:
    mail.state, mail.due_at, mail.finished_at = state, None, work.now
    publish_result(mail, work)
