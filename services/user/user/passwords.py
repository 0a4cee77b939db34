"""Passwords, hashed with Argon2id by a few at a time and away from the event loop."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, lru_cache

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from user.errors import TooManyAtTheDoor

# What OWASP's password storage cheat sheet asks for at least: 19 MiB, two passes, one lane.
HASHER = PasswordHash([Argon2Hasher(memory_cost=19 * 1024, time_cost=2, parallelism=1)])
AT_ONCE = 2
PATIENCE_SECONDS = 5  # below what the gateway waits for an answer


@asynccontextmanager
async def turn() -> AsyncIterator[None]:
    """Wait for a turn before the database is asked, so that a crowd at the door holds no connections.

    Who would wait longer than a caller does is sent away at once: TooManyAtTheDoor.
    """
    turns = _turns(asyncio.get_running_loop())
    try:
        await asyncio.wait_for(turns.acquire(), PATIENCE_SECONDS)
    except TimeoutError:
        raise TooManyAtTheDoor(retry_after=PATIENCE_SECONDS) from None
    try:
        yield
    finally:
        turns.release()


@lru_cache(maxsize=1)
def _turns(_: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
    return asyncio.Semaphore(AT_ONCE)


async def hashed(password: str) -> str:
    async with turn():
        return await asyncio.to_thread(HASHER.hash, password)


async def matches(password: str, password_hash: str | None) -> bool:
    """In a turn. Takes as long when there is nothing to compare with, so that time does not tell who has an account."""
    found = await asyncio.to_thread(HASHER.verify, password, password_hash or _decoy())
    return found and password_hash is not None


@cache
def _decoy() -> str:
    return HASHER.hash(secrets.token_urlsafe())
