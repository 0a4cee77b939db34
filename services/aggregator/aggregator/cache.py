"""A cache in Valkey (cache-aside). While Valkey is down, every read is a miss, and the log says so once."""

import functools
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends
from pydantic import TypeAdapter, ValidationError
from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

from aggregator.config import AggregatorSettings
from chassis.telemetry import Outage
from chassis.web import Runtime

T = TypeVar("T")
TIMEOUTS: dict[str, Any] = {"socket_timeout": 0.2, "socket_connect_timeout": 0.2}  # in seconds
BYPASS_SECONDS = 1  # how long the cache is not asked after a failure, so that few requests wait for its time-out


# Built once for each type, since that takes milliseconds.
_adapter: Callable[[Any], TypeAdapter[Any]] = functools.cache(TypeAdapter)


class ValkeyCache:
    """A read-through cache: values stay in Valkey for `cache_seconds`."""

    def __init__(self, settings: AggregatorSettings) -> None:
        self._seconds = settings.cache_seconds
        self._outage = Outage("the cache", logging.getLogger(__name__))
        self._bypassed_until = 0.0
        self._valkey = Valkey.from_url(settings.valkey_url, max_connections=100, **TIMEOUTS)

    async def get_or_load(self, key: str, type_: type[T], load: Callable[[], Awaitable[T]]) -> T:
        """The cached value of the key. If there is none, it is loaded and cached."""
        adapter: TypeAdapter[T] = _adapter(type_)
        cached = await self._run(lambda: self._valkey.get(key))
        if cached is not None:
            try:
                return adapter.validate_json(cached)
            except ValidationError:
                pass  # cached by another version of this program
        loaded = await load()
        await self._run(lambda: self._valkey.set(key, adapter.dump_json(loaded), ex=self._seconds))
        return loaded

    async def _run(self, command: Callable[[], Awaitable[bytes | None]]) -> bytes | None:
        if time.monotonic() < self._bypassed_until:
            return None
        try:
            reply = await command()
        except (ValkeyError, OSError, TimeoutError) as error:
            self._bypassed_until = time.monotonic() + BYPASS_SECONDS
            self._outage.begin(error)
            return None
        self._outage.end()
        return reply

    async def close(self) -> None:
        await self._valkey.aclose()


async def _cache(runtime: Runtime) -> ValkeyCache:
    """A coroutine: FastAPI calls a plain function in a thread, where two first requests would open two caches."""
    return runtime.resource(ValkeyCache)


Cache = Annotated[ValkeyCache, Depends(_cache)]
