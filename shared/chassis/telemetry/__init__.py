"""What a process shows of itself: log lines, metrics, traces, and outages of what the process depends on.

Every wing above uses this one. A service needs `Outage` for a dependency of its own and `span` for a call of its own.
"""

from chassis.telemetry.outage import Outage
from chassis.telemetry.tracing import span

__all__ = ["Outage", "span"]
