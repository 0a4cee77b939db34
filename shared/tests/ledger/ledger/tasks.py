"""The ledger with what it does now and then. Each run leaves a note: in which process, and in which trace."""

import asyncio
import os
from dataclasses import replace
from typing import Any

from chassis.database import new_id
from chassis.jobs import Tasks
from chassis.telemetry import tracing
from ledger import main
from ledger.models import Note

tasks = Tasks()
SECONDS = float(os.environ.get("LEDGER_SWEEP_SECONDS", "3600"))
ASLEEP_SECONDS = 3


async def _note(kind: str, runtime: Any) -> None:
    async with runtime.database.work() as work:
        await work.begin()
        work.add(Note.new(account=kind, number=new_id().int % 2**31, text=str(os.getpid()), data=tracing.traceparent()))


@tasks.task
async def reckon(runtime: Any) -> None:
    await _note("reckoned", runtime)


@tasks.every(seconds=SECONDS)
async def sweep(runtime: Any) -> None:
    await _note("swept", runtime)


@tasks.task
async def doze(runtime: Any) -> None:
    await _note("dozed off", runtime)
    await asyncio.sleep(ASLEEP_SECONDS)
    await _note("woke up", runtime)


@tasks.task
async def stumble(runtime: Any) -> None:
    raise RuntimeError("this cannot be reckoned")


service = replace(main.service, tasks=tasks)
