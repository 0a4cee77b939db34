"""Parked messages: poison waits here with the later messages of its key, until an operator replays or drops it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from chassis.database.errors import RETRYABLE, is_transient
from chassis.database.pool import Database
from chassis.database.sql import OUTBOX_COLUMNS
from chassis.database.unit_of_work import UnitOfWork
from chassis.errors import NotFound, Problem
from chassis.message import Envelope
from chassis.messaging.message_log import as_json

PAGE_LIMIT = 1000  # messages in one answer

_columns = [column for column in OUTBOX_COLUMNS if column != "shard"]
_listed = ", ".join(_columns)
_hold_key = "INSERT INTO parked_keys (consumer_group, key) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_keep = f"""
INSERT INTO parked_messages (consumer_group, reason, {_listed})
VALUES ($1, $2, {", ".join(f"${number}" for number in range(3, len(_columns) + 3))})
"""
_parked = f"""
SELECT position, {_listed}, reason, parked_at FROM parked_messages
WHERE consumer_group = $1 AND position > $2 AND ($3::text IS NULL OR $3 IN (key, id::text))
ORDER BY position LIMIT {PAGE_LIMIT}
"""
# Until this lock is gone no batch can park one more message of the key, nor handle one past those that are parked: it
# holds the row FOR SHARE. Between two messages of a replay it may park more, which are then the last.
_lock_key = "SELECT key FROM parked_keys WHERE consumer_group = $1 AND key = $2 FOR UPDATE"
_take_first = f"""
DELETE FROM parked_messages WHERE position = (
    SELECT min(position) FROM parked_messages WHERE consumer_group = $1 AND key = $2
) RETURNING position, {_listed}, reason, parked_at
"""
_free_key = """
DELETE FROM parked_keys k WHERE consumer_group = $1 AND key = $2 AND NOT EXISTS
(SELECT FROM parked_messages m WHERE m.consumer_group = k.consumer_group AND m.key = k.key)
"""


class DeadLetterNotFound(NotFound):
    code, detail = "nothing_parked", "No message is parked under this key."


class ReplayFailed(Problem):
    """A parked message was tried again and stays parked."""

    status, code = 409, "still_fails"


class NotFirstDeadLetter(Problem):
    status, code, detail = 409, "not_first", "Another message of this key is the first now; look again."


class DeadLetterQueue:
    """The parked messages of a service. `handle` is what its consumer does with a message, inside the transaction."""

    def __init__(self, database: Database, handle: Callable[[UnitOfWork, Envelope], Awaitable[None]]) -> None:
        self._database, self._group, self._handle = database, database.service, handle

    async def keep(self, work: UnitOfWork, envelope: Envelope, reason: str) -> None:
        """Park a message whose inbox row this work has written. Its key is parked until nothing of it waits."""
        await work.execute(_hold_key, self._group, envelope.key)
        await work.execute(_keep, self._group, reason, *(getattr(envelope, column) for column in _columns))

    async def parked(self, about: str | None = None, after: int = 0) -> list[dict[str, Any]]:
        """Parked messages, oldest first: all, or those with this key or id. The next page is after a position."""
        async with self._database.work() as work:
            return [as_json(row) for row in await work.read(_parked, self._group, after, about)]

    async def replay(self, key: str) -> int:
        """Handle the parked messages of a key in order, each in its own transaction. Stops at one that still fails."""
        replayed = 0
        try:
            while await self._replay_first(key):
                replayed += 1
        except Exception as error:
            if is_transient(error) or isinstance(error, RETRYABLE):
                raise
            raise ReplayFailed(f"{replayed} were replayed, then: {error!r}", replayed=replayed) from error
        if not replayed:
            raise DeadLetterNotFound()
        return replayed

    async def _replay_first(self, key: str) -> bool:
        async with self._database.work() as work:
            first = await self._take(work, key)
            if first is not None:
                await self._handle(work, Envelope(**{name: first[name] for name in _columns}))
            return first is not None

    async def drop(self, key: str, id: UUID | None = None) -> dict[str, Any]:
        """Take the first parked message of a key away for good and return it; what waits behind it can be replayed.

        With an id it is dropped only if it is that one, so that two operators do not drop two.
        """
        async with self._database.work() as work:
            first = await self._take(work, key)
            if first is None:
                raise DeadLetterNotFound()
            if id is not None and first["id"] != id:
                raise NotFirstDeadLetter()
            return as_json(first)

    async def _take(self, work: UnitOfWork, key: str) -> Mapping[str, Any] | None:
        """The first of a key, gone with the commit; the key is free again when it was the last."""
        if not await work.execute(_lock_key, self._group, key):
            return None
        taken = await work.execute(_take_first, self._group, key)
        await work.execute(_free_key, self._group, key)
        return taken[0] if taken else None
