"""A cache that may be away: then everything is a miss, and the log says so once."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import Depends
from pydantic import TypeAdapter, ValidationError
from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

from aggregator.config import AggregatorSettings
from chassis.logs import Trouble
from chassis.web import Runtime

logger = logging.getLogger(__name__)
T = TypeVar("T")
TIMEOUT_SECONDS = 0.2
BYPASS_SECONDS = 1  # how long it is left alone after a failure, so that few requests wait for it


class ValkeyCache:
    """Answers kept in Valkey for a few seconds."""

    def __init__(self, settings: AggregatorSettings) -> None:
        self._seconds = settings.cache_seconds
        self._outage = Trouble("the cache", logger)
        self._bypassed_until = 0.0
        self._valkey = Valkey.from_url(
            settings.valkey_url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            max_connections=100,
        )

    async def get_or_load(self, key: str, type_: type[T], make: Callable[[], Awaitable[T]]) -> T:
        """What is kept under the key; otherwise it is made and kept."""
        adapter = TypeAdapter(type_)
        kept = await self._run(lambda: self._valkey.get(key))
        if kept is not None:
            try:
                return adapter.validate_json(kept)
            except ValidationError:
                pass  # kept by another version of this program
        made = await make()
        await self._run(lambda: self._valkey.set(key, adapter.dump_json(made), ex=self._seconds))
        return made

    async def _run(self, command: Callable[[], Awaitable[bytes | None]]) -> bytes | None:
        if time.monotonic() < self._bypassed_until:
            return None
        try:
            answer = await command()
        except (ValkeyError, OSError, TimeoutError) as error:
            self._bypassed_until = time.monotonic() + BYPASS_SECONDS
            self._outage.begins(error)
            return None
        self._outage.ends()
        return answer

    async def close(self) -> None:
        await self._valkey.aclose()


def _cache(runtime: Runtime) -> ValkeyCache:
    return runtime.hold(ValkeyCache)


Cache = Annotated[ValkeyCache, Depends(_cache)]
