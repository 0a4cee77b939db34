"""Passwords are hashed with Argon2id: a few at a time, and in threads, so that the event loop stays free."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, lru_cache

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from contracts.user_api import SignInOverloaded

# The minimum of OWASP's password storage cheat sheet: 19 MiB, two passes, one lane.
HASHER = PasswordHash([Argon2Hasher(memory_cost=19 * 1024, time_cost=2, parallelism=1)])
HASHING_SLOTS = 2
SLOT_TIMEOUT_SECONDS = 5  # less than the gateway waits for an answer


@asynccontextmanager
async def hashing_slot() -> AsyncIterator[None]:
    """Hold one of the slots in which a password may be hashed (a semaphore, as a bulkhead against overload).

    Take the slot before the first query, so that waiting requests hold no database connections. A request that waits
    too long gets SignInOverloaded, before the gateway's time limit ends it.
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
    """Whether the hash is that of the password. The caller holds a slot.

    Without a hash it takes just as long, so that response times do not reveal which mail addresses have an account.
    """
    found = await asyncio.to_thread(HASHER.verify, password, password_hash or _dummy_hash())
    return found and password_hash is not None


@cache
def _dummy_hash() -> str:
    return HASHER.hash(secrets.token_urlsafe())
