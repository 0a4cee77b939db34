"""Services report that they hold no personal data of an erased person any more."""

from chassis.database import UnitOfWork, rows
from chassis.messaging import Subscriptions
from contracts.user import ReportErasure
from user import erasures
from user.config import UserSettings
from user.models import Erasure

on = Subscriptions()


@on(ReportErasure, needs=rows(Erasure, id="erasure_id"))
def record_report(report: ReportErasure, work: UnitOfWork[UserSettings]) -> None:
    """A report changes nothing when the erasure has been removed already."""
    if (erasure := work.get(Erasure, report.erasure_id)) is not None:
        erasures.record_report(erasure, report.service, report.rows, work)
