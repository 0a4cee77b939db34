"""Message handlers: a Notify command becomes one row in `mails`; an erasure deletes the rows of its user."""

from chassis.database import UnitOfWork, new_id, rows
from chassis.messaging import Subscriptions
from contracts.notification import Notify, Template
from contracts.user import ReportErasure, UserErased
from notification import mails
from notification.config import NotificationSettings
from notification.errors import TemplateFieldsMissing
from notification.models import Mail, MailState, Preference
from notification.tasks import send_mails

on = Subscriptions()
_ORDER = ("about", "amount_cents", "currency")
REQUIRED_FIELDS: dict[Template, tuple[str, ...]] = {
    Template.WELCOME: (),
    Template.PASSWORD_RESET: ("about",),
    Template.ORDER_CONFIRMED: _ORDER,
    Template.ORDER_CANCELLED: _ORDER,
    Template.ORDER_SHIPPED: _ORDER,
    Template.ORDER_UNDELIVERED: _ORDER,
    Template.ORDER_REFUNDED: _ORDER,
    Template.REVIEW_ASKED: ("about",),
}


@on(Notify, needs=rows(Mail, cause_id="cause_id"))
def queue_mail(command: Notify, work: UnitOfWork[NotificationSettings]) -> None:
    """Queue one mail per cause, user and template. A repeated command only repeats the answer, once there is one.

    A command that its template cannot show is refused here, where its message becomes a dead letter. Later, while the
    mail is sent, only a retry would be left.
    """
    if missing := [name for name in REQUIRED_FIELDS[command.template] if getattr(command, name) is None]:
        raise TemplateFieldsMissing(f"{command.template} needs {', '.join(missing)}")
    identity = {name: getattr(command, name) for name in ("cause_id", "user_id", "template")}
    for queued in work.loaded(Mail, **identity):
        return mails.publish_result(queued, work)
    work.add(
        Mail.new(
            id=new_id(), **command.model_dump(), requested_at=work.now, due_at=work.now, causation=work.causation()
        )
    )
    work.wake(send_mails)


@on(UserErased, needs=[rows(Mail, user_id="user_id"), rows(Preference, user_id="user_id")])
def erase_user(event: UserErased, work: UnitOfWork[NotificationSettings]) -> None:
    """Delete the user's mails and preferences, and report how many rows that were.

    A mail that a worker is sending at this moment may still arrive. Its row is gone by then, so its result is not
    recorded.
    """
    found = [*work.loaded(Mail, user_id=event.user_id), *work.loaded(Preference, user_id=event.user_id)]
    for row in found:
        if isinstance(row, Mail) and row.state == MailState.PENDING:
            mails.record_dropped(row, "account_gone", work)
        work.remove(row)
    report = ReportErasure(user_id=event.user_id, erasure_id=event.erasure_id, service="notification", rows=len(found))
    work.send(report)
