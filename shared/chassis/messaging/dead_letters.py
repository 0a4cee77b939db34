"""The dead letter queue: messages that cannot be handled wait here, with the later messages of their key.

An operator replays or drops them. Term: Hohpe and Woolf, *Enterprise Integration Patterns*, *Dead Letter Channel*; that
later messages of the key wait as well, in order, is this system's own.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from chassis.database.errors import RETRYABLE, is_transient
from chassis.database.pool import Database
from chassis.database.sql import OUTBOX_COLUMNS
from chassis.database.unit_of_work import UnitOfWork
from chassis.errors import NotFound, Problem
from chassis.message import Envelope
from chassis.messaging.message_log import PAGE_LIMIT, as_json

_columns = [column for column in OUTBOX_COLUMNS if column != "shard"]
_listed = ", ".join(_columns)
_block_key = "INSERT INTO dead_letter_keys (consumer_group, key) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_insert = f"""
INSERT INTO dead_letters (consumer_group, reason, {_listed})
VALUES ($1, $2, {", ".join(f"${number}" for number in range(3, len(_columns) + 3))})
"""
_list = f"""
SELECT position, {_listed}, reason, dead_lettered_at FROM dead_letters
WHERE consumer_group = $1 AND position > $2 AND ($3::text IS NULL OR $3 IN (key, id::text))
ORDER BY position LIMIT {PAGE_LIMIT}
"""
# A batch holds the rows of its blocked keys FOR SHARE. So while this lock lasts, no batch can add a message of the key
# to the queue, nor handle a later message of the key. Between two messages of a replay a batch may add more; these are
# then the last of the key.
_lock_key = "SELECT key FROM dead_letter_keys WHERE consumer_group = $1 AND key = $2 FOR UPDATE"
_take_first = f"""
DELETE FROM dead_letters WHERE position = (
    SELECT min(position) FROM dead_letters WHERE consumer_group = $1 AND key = $2
) RETURNING position, {_listed}, reason, dead_lettered_at
"""
_unblock_key = """
DELETE FROM dead_letter_keys k WHERE consumer_group = $1 AND key = $2 AND NOT EXISTS
(SELECT FROM dead_letters m WHERE m.consumer_group = k.consumer_group AND m.key = k.key)
"""


class DeadLetterNotFound(NotFound):
    """No message waits under this key: it was replayed or dropped, or the key is wrong. List the dead letters."""

    code, detail = "dead_letter_not_found", "No dead letter waits under this key."


class ReplayFailed(Problem):
    """A dead letter was tried again, failed again and stays. Remove the cause that the detail names, then replay."""

    status, code, detail = 409, "replay_failed", "The dead letter could not be handled and stays in the queue."


class NotFirstDeadLetter(Problem):
    """Another message of the key is the first one now. List the dead letters of the key again."""

    status, code, detail = 409, "not_first_dead_letter", "Another message of this key is the first one now."


class DeadLetterQueue:
    """The dead letters of a service. `handle` is what its consumer does with a message, inside the transaction."""

    def __init__(self, database: Database[Any], handle: Callable[[UnitOfWork[Any], Envelope], Awaitable[None]]) -> None:
        self._database, self._group, self._handle = database, database.service, handle

    async def add(self, work: UnitOfWork[Any], envelope: Envelope, reason: str) -> None:
        """Add a message whose inbox row this work has written. Its key is blocked until none of its messages waits."""
        await work.execute(_block_key, self._group, envelope.key)
        await work.execute(_insert, self._group, reason, *(getattr(envelope, column) for column in _columns))

    async def list_dead_letters(self, about: str | None = None, after: int = 0) -> list[dict[str, Any]]:
        """Dead letters, oldest first: all, or those with this key or id. The next page is after a position."""
        async with self._database.work() as work:
            return [as_json(row) for row in await work.read(_list, self._group, after, about)]

    async def replay(self, key: str) -> int:
        """Handle the dead letters of a key in order, each in its own transaction. Stops at one that still fails."""
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
            first = await self._take_first(work, key)
            if first is not None:
                await self._handle(work, Envelope(**{name: first[name] for name in _columns}))
            return first is not None

    async def drop(self, key: str, id: UUID | None = None) -> dict[str, Any]:
        """Delete the first dead letter of a key and return it. The messages behind it can be replayed then.

        With an id it is dropped only if it is that one, so that two operators do not drop two.
        """
        async with self._database.work() as work:
            first = await self._take_first(work, key)
            if first is None:
                raise DeadLetterNotFound()
            if id is not None and first["id"] != id:
                raise NotFirstDeadLetter()
            return as_json(first)

    async def _take_first(self, work: UnitOfWork[Any], key: str) -> Mapping[str, Any] | None:
        """The first dead letter of a key, deleted with the commit. The key is free again when it was the last."""
        if not await work.execute(_lock_key, self._group, key):
            return None
        taken = await work.execute(_take_first, self._group, key)
        await work.execute(_unblock_key, self._group, key)
        return taken[0] if taken else None
