"""A mail is written down when it is commanded, once for its cause; who is erased is forgotten."""

from chassis.subscriptions import Subscriptions, rows
from chassis.tables import new_id
from chassis.work import UnitOfWork
from contracts.notification import Notify, Template
from contracts.user import ReportErasure, UserErased
from notification import mails
from notification.errors import TemplateFieldsMissing
from notification.models import Mail, MailState, Preference

on = Subscriptions()
_ORDER = ("about", "amount_cents", "currency")
REQUIRED_FIELDS: dict[Template, tuple[str, ...]] = {
    Template.WELCOME: (),
    Template.PASSWORD_RESET: ("about",),
    Template.ORDER_CONFIRMED: _ORDER,
    Template.ORDER_CANCELLED: _ORDER,
    Template.ORDER_SHIPPED: _ORDER,
    Template.ORDER_REFUNDED: _ORDER,
    Template.REVIEW_ASKED: ("about",),
}


@on(Notify, needs=rows(Mail, cause_id="cause_id"))
def queue_mail(command: Notify, work: UnitOfWork) -> None:
    """What cannot be written is parked here, with all that comes later for its reader, rather than fail in the sending.

    A repeated command is answered again.
    """
    if missing := [name for name in REQUIRED_FIELDS[command.template] if getattr(command, name) is None]:
        raise TemplateFieldsMissing(f"{command.template} needs {', '.join(missing)}")
    the_same = {name: getattr(command, name) for name in ("cause_id", "user_id", "template")}
    for known in work.all(Mail, **the_same):
        return mails.publish_result(known, work)
    work.add(Mail.new(id=new_id(), **command.model_dump(), requested_at=work.now, due_at=work.now, cause=work.origin()))
    work.wake("send_mails")


@on(UserErased, needs=[rows(Mail, user_id="user_id"), rows(Preference, user_id="user_id")])
def erase_user(event: UserErased, work: UnitOfWork) -> None:
    """A mail that a worker has in hand may still arrive; then its row is gone, and nobody records it."""
    found = [*work.all(Mail, user_id=event.user_id), *work.all(Preference, user_id=event.user_id)]
    for row in found:
        if isinstance(row, Mail) and row.state == MailState.PENDING:
            mails.record_dropped(row, "account_gone", work)
        work.remove(row)
    report = ReportErasure(user_id=event.user_id, erasure_id=event.erasure_id, service="notification", rows=len(found))
    work.send(report)
