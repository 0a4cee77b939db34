"""Changes of a mail's state, with the event that publishes each result."""

from contextlib import AbstractContextManager
from datetime import timedelta

from opentelemetry.trace import Span, SpanKind

from chassis.database import Causation, UnitOfWork
from chassis.resilience import retry_delay_seconds
from chassis.telemetry import span
from contracts.notification import NotificationDropped, NotificationSent, Template
from notification.config import NotificationSettings
from notification.models import Mail, MailState

ADVERTISING = {Template.REVIEW_ASKED}


def record_sent(mail: Mail, work: UnitOfWork[NotificationSettings]) -> None:
    _finish(mail, MailState.SENT, work)


def record_dropped(mail: Mail, reason: str, work: UnitOfWork[NotificationSettings]) -> None:
    mail.drop_reason = reason
    _finish(mail, MailState.DROPPED, work)


def record_deferred(mail: Mail, reason: str, work: UnitOfWork[NotificationSettings]) -> None:
    """Schedule the next try after a longer delay, or drop the mail when it has waited for too long already."""
    settings = work.settings
    if work.now - mail.requested_at > timedelta(seconds=settings.max_queue_seconds):
        return record_dropped(mail, reason, work)
    seconds = retry_delay_seconds(mail.deferrals, settings.first_retry_delay_seconds, settings.max_retry_delay_seconds)
    mail.deferrals += 1
    mail.due_at = work.now + timedelta(seconds=seconds)


def publish_result(mail: Mail, work: UnitOfWork[NotificationSettings]) -> None:
    """Publish NotificationSent or NotificationDropped, unless the mail is still pending."""
    about = {"user_id": mail.user_id, "cause_id": mail.cause_id, "template": mail.template}
    if mail.state == MailState.SENT:
        work.send(NotificationSent(**about))
    elif mail.state == MailState.DROPPED:
        work.send(NotificationDropped(**about, reason=mail.drop_reason or ""))


def client_span(mail: Mail, name: str) -> AbstractContextManager[Span]:
    """A span in the trace that the mail belongs to, rather than in the trace of the batch."""
    cause = Causation.from_row(mail)
    return span("notification", name, SpanKind.CLIENT, cause.traceparent if cause else None)


def _finish(mail: Mail, state: MailState, work: UnitOfWork[NotificationSettings]) -> None:
    mail.state, mail.due_at, mail.finished_at = state, None, work.now
    publish_result(mail, work)
