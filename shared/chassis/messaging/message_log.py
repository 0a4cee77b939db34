"""The message log: which messages a service has sent and handled, from its own outbox, history and inbox."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.database.pool import Database
from chassis.database.sql import OUTBOX_COLUMNS
from chassis.errors import Problem

PAGE_LIMIT = 1000  # messages in one answer

_columns = ", ".join(column for column in OUTBOX_COLUMNS if column != "shard")
_sent = f"""
SELECT position, {_columns}, NULL::timestamptz AS published_at FROM outbox
WHERE key = $1 OR correlation_id = ANY($2::text[])
UNION ALL SELECT position, {_columns}, published_at FROM outbox_history
WHERE key = $1 OR correlation_id = ANY($2::text[])
ORDER BY position LIMIT {PAGE_LIMIT}
"""
# A relay whose transaction still runs may commit rows with an earlier `published_at`: the start of that transaction.
_complete = """
SELECT least(now(), min(xact_start)) - interval '1 microsecond' AS until
FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1
"""
_published = f"""
SELECT position, {_columns}, published_at FROM outbox_history
WHERE published_at > $1 AND published_at <= $2
AND ($3::text IS NULL OR key = $3) AND ($4::text IS NULL OR type = $4)
ORDER BY published_at FETCH FIRST $5 ROWS WITH TIES
"""
_handled = """
SELECT i.id, i.received_at, p.reason AS dead_lettered FROM inbox i
LEFT JOIN dead_letters p ON p.consumer_group = i.consumer_group AND p.id = i.id
WHERE i.consumer_group = $1 AND i.id = ANY($2::uuid[])
"""
_backlog = "SELECT count(*) AS messages, extract(epoch FROM now() - min(time))::float AS oldest_seconds FROM outbox"


class HistoryDisabled(Problem):
    """OUTBOX_HISTORY is off for this service. Switch it on to see which messages were published."""

    status, code = 409, "history_disabled"
    detail = "This service keeps no published messages: OUTBOX_HISTORY is off."


class MessageLog:
    """Reads the outbox, its history and the inbox. Bodies are text; ids of one key grow with their order."""

    def __init__(self, database: Database[Any]) -> None:
        self._database = database

    async def list_sent(self, key: str | None, correlation_ids: Sequence[str]) -> list[dict[str, Any]]:
        """The messages sent with this key or one of these correlations, as sent. Unpublished: `published_at` None."""
        return [as_json(row) for row in await self._read(_sent, key, correlation_ids)]

    async def list_published(
        self, after: datetime | None, key: str | None, type_: str | None, limit: int = PAGE_LIMIT
    ) -> tuple[list[dict[str, Any]], datetime]:
        """The messages published after a moment, and the moment to ask with next. Without a moment: no messages.

        There may be a few more than `limit`. No message is left out and none comes twice, whatever relays do meanwhile.
        """
        if not self._database.settings.outbox_history:
            raise HistoryDisabled()
        ((until,),) = await self._read(_complete, f"{self._database.service} relay")
        if after is None:
            return [], until
        rows = await self._read(_published, after, until, key, type_, limit)
        rows.sort(key=lambda row: (row["published_at"], row["position"]))
        return [as_json(row) for row in rows], rows[-1]["published_at"] if len(rows) >= limit else max(after, until)

    async def list_handled(self, ids: Sequence[UUID]) -> list[dict[str, Any]]:
        """Which of these messages came in here: `received_at`, and for a dead letter its reason (`dead_lettered`)."""
        return [dict(row) for row in await self._read(_handled, self._database.service, ids)]

    async def outbox_backlog(self) -> dict[str, Any]:
        """How many messages wait in the outbox, and the seconds since the oldest was written."""
        (row,) = await self._read(_backlog)
        return dict(row)

    async def _read(self, sql: str, *arguments: Any) -> list[Any]:
        async with self._database.work() as work:
            return await work.read(sql, *arguments)


def as_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a message for an answer: its body as text."""
    return {**row, "body": row["body"].decode(errors="replace")}
