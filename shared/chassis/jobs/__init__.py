"""Work that is done later: deadlines of rows, calls to the outside world under a lease, and tasks that Celery runs.

Services declare `Deadlines` and `Tasks` and give them to their `Service`. `docs/later.md` compares them.
"""

from chassis.jobs.deadlines import Deadlines
from chassis.jobs.tasks import Tasks

__all__ = ["Deadlines", "Tasks"]
