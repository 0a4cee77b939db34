"""What a service is: the declaration in its `main.py`, and what it holds while it runs."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Protocol, TypeVar, cast

import httpx
from fastapi import APIRouter

from chassis.calls.auth import TokenVerifier
from chassis.calls.client import ServiceClient
from chassis.calls.discovery import Api, Discovery
from chassis.config import Settings
from chassis.database.pool import Database
from chassis.database.tables import Table
from chassis.jobs.deadlines import Deadlines
from chassis.jobs.tasks import Tasks
from chassis.messaging.subscriptions import Subscriptions


class Resource(Protocol):
    """Something of a service's own that is open while it runs, such as connections to a cache."""

    def __init__(self, settings: Any) -> None: ...

    async def close(self) -> None: ...


H = TypeVar("H", bound=Resource)


@dataclass(frozen=True)
class Service:
    """The table of contents of a service.

    `calls` are the APIs it may call, none of a layer above; `hooks` the path of its signed webhooks, if it has any.
    `after_commit` names what is told of rows that were written, best effort: it may hand them on, and must not wait.
    """

    api: Api
    routers: Sequence[APIRouter] = ()
    subscriptions: Subscriptions = field(default_factory=Subscriptions)
    deadlines: Deadlines = field(default_factory=Deadlines)
    tasks: Tasks = field(default_factory=Tasks)
    calls: Sequence[Api] = ()
    settings: type[Settings] = Settings
    models: ModuleType | None = None
    hooks: str | None = None
    after_commit: Mapping[type[Table], Callable[["Runtime", Sequence[Any]], None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for api in self.calls:
            if api.layer > self.api.layer:
                raise ValueError(f"{self.api.name} may not call {api.name}: calls go down, not up")

    @property
    def name(self) -> str:
        return self.api.name


@cache
def installed(*names: str) -> dict[str, Service]:
    """The services of these names, or all that are in this environment: entry points of the group `services`."""
    return {name: entry_points(group="services")[name].load() for name in names or installed_names()}


def installed_names() -> list[str]:
    """Without importing any: a process that runs one service neither pays for the others nor fails with them."""
    return sorted(entry_points(group="services").names)


class Runtime:
    """What a running service holds: settings, database, and ways to call others."""

    def __init__(
        self,
        service: Service,
        settings: Settings,
        database: Database,
        discovery: Discovery,
        http: httpx.AsyncClient,
    ) -> None:
        self.service, self.settings, self.database = service, settings, database
        self.stop = asyncio.Event()  # set when the process is to end
        self.http = http
        self.tokens = TokenVerifier(settings.token_issuer, settings.service_key, discovery, http)
        self._discovery = discovery
        self._clients: dict[tuple[Api, bool], ServiceClient] = {}
        self._resources: dict[type[Any], Any] = {}

    def client(self, api: Api, *, as_service: bool = False) -> ServiceClient:
        """A client that passes on the caller's token, or speaks for this service itself."""
        if api not in self.service.calls:
            raise ValueError(f"{self.service.name} does not declare that it calls {api.name}")
        if (api, as_service) not in self._clients:
            key = self.settings.service_key if as_service else None
            self._clients[api, as_service] = ServiceClient(self.service.name, api, self._discovery, self.http, key)
        return self._clients[api, as_service]

    def resource(self, kind: type[H]) -> H:
        """The one `kind(settings)` of this service, made at the first use and closed at the end."""
        if kind not in self._resources:
            self._resources[kind] = kind(self.settings)
        return cast(H, self._resources[kind])

    async def close(self) -> None:
        for resource in self._resources.values():
            await resource.close()
        await self.http.aclose()
