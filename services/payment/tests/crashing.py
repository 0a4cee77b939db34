"""Payment that kills its own process when its calls reach a point for the third time: `python crashing.py POINT`."""

import asyncio
import os
import signal
import sys
from dataclasses import replace

from chassis.brokers.memory import MemoryBroker
from chassis.jobs import Deadlines, Tasks
from chassis.process.instance import Instance
from chassis.service import Runtime
from payment.config import PaymentSettings
from payment.main import service
from payment.models import Attempt
from payment.provider import ProviderOutcome, request_outcome

BEFORE_CALL = "between commit and call"
AFTER_CALL = "between call and record"
POINTS = [BEFORE_CALL, AFTER_CALL]


class CrashingCall:
    """A call to the provider that kills its own process at a point."""

    def __init__(self, point: str) -> None:
        self._point, self._left = point, 3

    def reach(self, point: str) -> None:
        self._left -= point == self._point
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    async def request_outcome(self, attempt: Attempt, runtime: Runtime[PaymentSettings]) -> ProviderOutcome | None:
        self.reach(BEFORE_CALL)
        outcome = await request_outcome(attempt, runtime)
        self.reach(AFTER_CALL)
        return outcome


if __name__ == "__main__":
    deadlines, crashing = Deadlines(), CrashingCall(sys.argv[1])
    deadlines.entries = [replace(entry, call=crashing.request_outcome) for entry in service.deadlines.entries]
    settings = service.settings.of(service.name)
    asyncio.run(Instance(replace(service, deadlines=deadlines, tasks=Tasks()), settings, MemoryBroker()).run("all"))
