"""Passwords, hash_password with Argon2id by a few at a time and away from the event loop."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, lru_cache

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from user.errors import SignInOverloaded

# What OWASP's password storage cheat sheet asks for at least: 19 MiB, two passes, one lane.
HASHER = PasswordHash([Argon2Hasher(memory_cost=19 * 1024, time_cost=2, parallelism=1)])
HASHING_SLOTS = 2
SLOT_TIMEOUT_SECONDS = 5  # below what the gateway waits for an answer


@asynccontextmanager
async def hashing_slot() -> AsyncIterator[None]:
    """Wait for a slot before the database is asked, so that a crowd at the door holds no connections.

    Who would wait longer than a caller does is sent away at once: SignInOverloaded.
    """
    slots = _slots(asyncio.get_running_loop())
    try:
        await asyncio.wait_for(slots.acquire(), SLOT_TIMEOUT_SECONDS)
    except TimeoutError:
        raise SignInOverloaded(retry_after=SLOT_TIMEOUT_SECONDS) from None
    try:
        yield
    finally:
        slots.release()


@lru_cache(maxsize=1)
def _slots(_: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
    return asyncio.Semaphore(HASHING_SLOTS)


async def hash_password(password: str) -> str:
    async with hashing_slot():
        return await asyncio.to_thread(HASHER.hash, password)


async def password_matches(password: str, password_hash: str | None) -> bool:
    """In a slot. Takes as long when there is nothing to compare with, so that time does not tell who has an account."""
    found = await asyncio.to_thread(HASHER.verify, password, password_hash or _dummy_hash())
    return found and password_hash is not None


@cache
def _dummy_hash() -> str:
    return HASHER.hash(secrets.token_urlsafe())
