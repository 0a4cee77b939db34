"""The sweeper, a scheduler: finds rows whose deadline has passed, and applies the handler of the deadline to them.

Deadlines are compared with the database's clock, and checked again under the row's lock.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from opentelemetry.trace import SpanKind

from chassis.database.errors import RETRYABLE, is_transient
from chassis.database.loading import load_rows
from chassis.database.pool import Database
from chassis.database.tables import Table, mapping_of
from chassis.database.unit_of_work import Causation, UnitOfWork
from chassis.jobs.deadlines import Deadline
from chassis.resilience.backoff import Backoff, wait_for_any
from chassis.telemetry import tracing
from chassis.telemetry.outage import Outage

logger = logging.getLogger(__name__)
T = TypeVar("T", bound=Table)
LIMIT = 100
POLL_SECONDS = 30  # how late a row may be noticed that another process wrote


class DeadlineSweeper:
    """Sweeps one deadline: when a commit in this process wrote a due row, and when the next row is due."""

    def __init__(self, database: Database[Any], deadline: Deadline, runtime: Any) -> None:
        self.outage = Outage(f"the database of the sweep over {deadline.table.__name__}.{deadline.column}", logger)
        self._database, self._deadline, self._runtime = database, deadline, runtime
        self._log_fields = {"table": deadline.table.__name__, "column": deadline.column}
        self._woken = asyncio.Event()
        self._next: datetime | None = None
        self._calls: set[asyncio.Task[tuple[Table, Any] | None]] = set()
        it = mapping_of(deadline.table)
        self._select_due = (
            f'SELECT {", ".join(it.key)} FROM {it.name} WHERE "{deadline.column}" <= now()'
            f' ORDER BY "{deadline.column}" LIMIT $1 FOR UPDATE SKIP LOCKED'
        )
        self._select_next = f'SELECT min("{deadline.column}") AS next, now() AS now FROM {it.name}'
        database.watch(deadline.table, self._on_commit)

    def _on_commit(self, written: Sequence[Table]) -> None:
        moments = [moment for row in written if (moment := getattr(row, self._deadline.column)) is not None]
        if moments and (self._next is None or min(moments) < self._next):
            self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        backoff = Backoff()
        while not stop.is_set():
            try:
                self._woken.clear()
                self._next = None
                if await self.sweep() < LIMIT:
                    await self._wait_for_next(stop)
                self.outage.end()
                backoff.reset()
            except Exception as error:
                if not is_transient(error) and not isinstance(error, RETRYABLE):
                    logger.exception("a sweep failed and will be tried again")
                if is_transient(error):
                    self.outage.begin(error)
                await backoff.pause(stop)
        for call in self._calls:
            call.cancel()

    async def _wait_for_next(self, stop: asyncio.Event) -> None:
        async with self._database.work() as work:
            (row,) = await work.execute(self._select_next)
        self._next = row["next"]
        seconds = POLL_SECONDS if self._next is None else (self._next - row["now"]).total_seconds()
        seconds = min(max(seconds, 0.02), POLL_SECONDS)
        if not self._calls:
            return await wait_for_any(seconds, self._woken, stop)
        waiting = asyncio.ensure_future(wait_for_any(seconds, self._woken, stop))
        await asyncio.wait({waiting, *self._calls}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def sweep(self) -> int:
        """Handle the rows that are due now. Returns how many were taken."""
        if self._deadline.call is None:
            return await self._handle_due()
        taken = await self._start_calls()
        finished = {call for call in self._calls if call.done()}
        try:
            await self._record_outcomes([result for call in finished if (result := call.result()) is not None])
        finally:
            self._calls -= finished
        return taken

    @property
    def busy(self) -> bool:
        """Whether a call is under way, or its outcome is not recorded yet."""
        return bool(self._calls)

    async def _due_rows(self, work: UnitOfWork[Any], limit: int) -> list[Table]:
        keys = [tuple(row) for row in await work.execute(self._select_due, limit)]
        (first, *_) = mapping_of(self._deadline.table).key
        if keys:
            await work.lock(self._deadline.table, **{first: [key[0] for key in keys]})
        return [row for key in keys if (row := work.get(self._deadline.table, *key)) is not None]

    async def _handle_due(self) -> int:
        """All in one transaction. If that fails, one by one; a row that fails alone is postponed by the lease."""
        try:
            return await self._handle_together(LIMIT, self._deadline.handler)
        except Exception as error:
            if is_transient(error):
                raise
        for handled in range(LIMIT):
            try:
                if not await self._handle_together(1, self._deadline.handler):
                    return handled
            except Exception as error:
                if is_transient(error) or isinstance(error, RETRYABLE):
                    raise
                logger.error("a due row failed and is postponed", extra=self._log_fields, exc_info=error)
                await self._handle_together(1, self._postpone)
        return LIMIT

    async def _handle_together(self, limit: int, handler: Callable[[Table, UnitOfWork[Any]], None]) -> int:
        async with self._database.work() as work:
            rows = await self._due_rows(work, limit)
            await load_rows(work, [(row, self._deadline.needs) for row in rows])
            for row in rows:
                work.cause = Causation.from_row(row)
                handler(row, work)
        return len(rows)

    def _postpone(self, row: Table, work: UnitOfWork[Any]) -> None:
        setattr(row, self._deadline.column, work.now + self._deadline.lease)

    async def _start_calls(self) -> int:
        room = LIMIT - len(self._calls)
        if room <= 0:
            return 0
        async with self._database.work() as work:
            rows = await self._due_rows(work, room)
            for row in rows:
                self._postpone(row, work)
        self._calls |= {asyncio.create_task(self._call(row)) for row in rows}
        return len(rows)

    async def _call(self, row: Table) -> tuple[Table, Any] | None:
        assert self._deadline.call is not None
        try:
            async with asyncio.timeout(self._deadline.lease.total_seconds()):
                cause, name = Causation.from_row(row), f"call {self._deadline.call.__name__}"
                with tracing.span(self._database.service, name, SpanKind.CLIENT, cause.traceparent if cause else None):
                    return row, await self._deadline.call(row, self._runtime)
        except Exception as error:
            logger.warning(
                "a call to the outside has no outcome yet and will be made again",
                extra={**self._log_fields, "error": repr(error)},
            )
            return None

    async def _record_outcomes(self, outcomes: list[tuple[Table, Any]]) -> None:
        if not outcomes:
            return
        try:
            await self._record_together(outcomes)
        except Exception as error:
            if is_transient(error):
                raise
            if len(outcomes) == 1:
                logger.error(
                    "an outcome was not recorded; the call is repeated", extra=self._log_fields, exc_info=error
                )
                return
            for outcome in outcomes:
                await self._record_outcomes([outcome])

    async def _record_together(self, outcomes: list[tuple[Table, Any]]) -> None:
        it, column = mapping_of(self._deadline.table), self._deadline.column
        async with self._database.work() as work:
            await work.lock(self._deadline.table, **{it.key[0]: [it.identity(row)[0] for row, _ in outcomes]})
            locked = [(work.get(self._deadline.table, *it.identity(row)), row, outcome) for row, outcome in outcomes]
            # A row whose lease has changed was leased by another process, which will record the outcome.
            mine = [
                (now, outcome) for now, row, outcome in locked if now and getattr(now, column) == getattr(row, column)
            ]
            await load_rows(work, [(row, self._deadline.needs) for row, _ in mine])
            for row, outcome in mine:
                work.cause = Causation.from_row(row)
                self._deadline.handler(row, outcome, work)
