"""Rows whose time has come: deadlines, and calls to the outside world between two transactions.

Deadlines are a column, compared with the database's clock and checked again under the row's lock.
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
LOOK_SECONDS = 30  # how late a row may be noticed that another process wrote


class DeadlineSweeper:
    """Sweeps one entry: at once when a commit in this process wrote a due row, otherwise when the next is due."""

    def __init__(self, database: Database, entry: Deadline, runtime: Any) -> None:
        self.outage = Outage(f"the database of the sweep over {entry.table.__name__}.{entry.column}", logger)
        self._database, self._entry, self._runtime = database, entry, runtime
        self._where = {"table": entry.table.__name__, "column": entry.column}
        self._woken = asyncio.Event()
        self._next: datetime | None = None
        self._calls: set[asyncio.Task[tuple[Table, Any] | None]] = set()
        it = mapping_of(entry.table)
        self._take = (
            f'SELECT {", ".join(it.key)} FROM {it.name} WHERE "{entry.column}" <= now()'
            f' ORDER BY "{entry.column}" LIMIT $1 FOR UPDATE SKIP LOCKED'
        )
        self._ask = f'SELECT min("{entry.column}") AS next, now() AS now FROM {it.name}'
        database.watch(entry.table, self._notice)

    def _notice(self, written: Sequence[Table]) -> None:
        moments = [moment for row in written if (moment := getattr(row, self._entry.column)) is not None]
        if moments and (self._next is None or min(moments) < self._next):
            self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        backoff = Backoff()
        while not stop.is_set():
            try:
                self._woken.clear()
                self._next = None
                if await self.sweep() < LIMIT:
                    await self._rest(stop)
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

    async def _rest(self, stop: asyncio.Event) -> None:
        async with self._database.work() as work:
            (row,) = await work.execute(self._ask)
        self._next = row["next"]
        seconds = LOOK_SECONDS if self._next is None else (self._next - row["now"]).total_seconds()
        seconds = min(max(seconds, 0.02), LOOK_SECONDS)
        if not self._calls:
            return await wait_for_any(seconds, self._woken, stop)
        waiting = asyncio.ensure_future(wait_for_any(seconds, self._woken, stop))
        await asyncio.wait({waiting, *self._calls}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def sweep(self) -> int:
        """Handle what is due now; the number of rows taken."""
        if self._entry.call is None:
            return await self._handle_due()
        taken = await self._start_calls()
        finished = {call for call in self._calls if call.done()}
        try:
            await self._record([result for call in finished if (result := call.result()) is not None])
        finally:
            self._calls -= finished
        return taken

    @property
    def busy(self) -> bool:
        """Whether a call is under way, or its outcome is not recorded yet."""
        return bool(self._calls)

    async def _due_rows(self, work: UnitOfWork, limit: int) -> list[Table]:
        keys = [tuple(row) for row in await work.execute(self._take, limit)]
        (first, *_) = mapping_of(self._entry.table).key
        if keys:
            await work.lock(self._entry.table, **{first: [key[0] for key in keys]})
        return [row for key in keys if (row := work.get(self._entry.table, *key)) is not None]

    async def _handle_due(self) -> int:
        """All in one transaction; when that fails one by one, and a row that fails alone is put off."""
        try:
            return await self._handle_together(LIMIT, self._entry.handler)
        except Exception as error:
            if is_transient(error):
                raise
        for handled in range(LIMIT):
            try:
                if not await self._handle_together(1, self._entry.handler):
                    return handled
            except Exception as error:
                if is_transient(error) or isinstance(error, RETRYABLE):
                    raise
                logger.error("a due row failed and is put off", extra=self._where, exc_info=error)
                await self._handle_together(1, self._put_off)
        return LIMIT

    async def _handle_together(self, limit: int, handler: Callable[[Table, UnitOfWork], None]) -> int:
        async with self._database.work() as work:
            rows = await self._due_rows(work, limit)
            await load_rows(work, [(row, self._entry.needs) for row in rows])
            for row in rows:
                work.cause = Causation.from_row(row)
                handler(row, work)
        return len(rows)

    def _put_off(self, row: Table, work: UnitOfWork) -> None:
        setattr(row, self._entry.column, work.now + self._entry.lease)

    async def _start_calls(self) -> int:
        room = LIMIT - len(self._calls)
        if room <= 0:
            return 0
        async with self._database.work() as work:
            rows = await self._due_rows(work, room)
            for row in rows:
                self._put_off(row, work)
        self._calls |= {asyncio.create_task(self._call(row)) for row in rows}
        return len(rows)

    async def _call(self, row: Table) -> tuple[Table, Any] | None:
        assert self._entry.call is not None
        try:
            async with asyncio.timeout(self._entry.lease.total_seconds()):
                cause, name = Causation.from_row(row), f"call {self._entry.call.__name__}"
                with tracing.span(self._database.service, name, SpanKind.CLIENT, cause.traceparent if cause else None):
                    return row, await self._entry.call(row, self._runtime)
        except Exception as error:
            logger.warning(
                "a call to the outside has no outcome yet and will be made again",
                extra={**self._where, "error": repr(error)},
            )
            return None

    async def _record(self, outcomes: list[tuple[Table, Any]]) -> None:
        if not outcomes:
            return
        try:
            await self._record_together(outcomes)
        except Exception as error:
            if is_transient(error):
                raise
            if len(outcomes) == 1:
                logger.error("an outcome was not recorded; the call is made again", extra=self._where, exc_info=error)
                return
            for outcome in outcomes:
                await self._record([outcome])

    async def _record_together(self, outcomes: list[tuple[Table, Any]]) -> None:
        it, column = mapping_of(self._entry.table), self._entry.column
        async with self._database.work() as work:
            await work.lock(self._entry.table, **{it.key[0]: [it.identity(row)[0] for row, _ in outcomes]})
            locked = [(work.get(self._entry.table, *it.identity(row)), row, outcome) for row, outcome in outcomes]
            # A row whose lease has changed was taken by somebody else, who will record it.
            mine = [
                (now, outcome) for now, row, outcome in locked if now and getattr(now, column) == getattr(row, column)
            ]
            await load_rows(work, [(row, self._entry.needs) for row, _ in mine])
            for row, outcome in mine:
                work.cause = Causation.from_row(row)
                self._entry.handler(row, outcome, work)
