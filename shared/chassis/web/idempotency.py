"""A POST with an Idempotency-Key is answered once: its answer is stored in the transaction of its effect.

Source: IETF draft *The Idempotency-Key HTTP Header Field*.
"""

import hashlib
from typing import Any

import asyncpg
from fastapi import Request, Response

from chassis.database.unit_of_work import UnitOfWork
from chassis.errors import IdempotencyKeyReused, InProgress

_claim = """
INSERT INTO idempotency_keys (caller, key, body_hash) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING key
"""
_store = "UPDATE idempotency_keys SET status = $3, headers = $4, answer = $5 WHERE caller = $1 AND key = $2"
_first = "SELECT body_hash, status, headers, answer FROM idempotency_keys WHERE caller = $1 AND key = $2"


class AnsweredBefore(Exception):
    """Another request with the key has committed in the meantime."""


class Idempotency:
    """The key of one request. Answers are stored for a day; a problem is not an answer."""

    def __init__(self, key: str, caller: str, request: Request, body: bytes) -> None:
        self._key, self._caller = key, caller
        self._hash = hashlib.sha256(f"{request.method} {request.url.path}\n".encode() + body).digest()

    async def first_answer(self, work: UnitOfWork[Any]) -> Response | None:
        """The answer to the first request with the key, if that request has committed."""
        (row, *_) = await work.read(_first, self._caller, self._key) or [None]
        if row is None or row["status"] is None:
            return None
        if row["body_hash"] != self._hash:
            raise IdempotencyKeyReused(field="Idempotency-Key")
        return Response(row["answer"], row["status"], row["headers"])

    async def claim(self, work: UnitOfWork[Any]) -> None:
        """Claim the key as the first statement of the transaction, until its end."""
        await work.execute("SET LOCAL lock_timeout = '1s'")
        try:
            claimed = await work.execute(_claim, self._caller, self._key, self._hash)
        except asyncpg.LockNotAvailableError:
            raise InProgress(retry_after=1) from None
        if not claimed:
            raise AnsweredBefore
        await work.execute("SET LOCAL lock_timeout = '5s'")

    async def store(self, work: UnitOfWork[Any], response: Response) -> None:
        """Store the answer with the effect."""
        names = ("content-type", "location")
        headers = {name: response.headers[name] for name in names if name in response.headers}
        await work.execute(_store, self._caller, self._key, response.status_code, headers, bytes(response.body))
