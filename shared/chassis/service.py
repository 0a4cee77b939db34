"""What a service is: the declaration in its `main.py`, and what a running service holds."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Generic, Protocol, TypeVar, cast

import httpx
from fastapi import APIRouter

from chassis.calls.auth import TokenVerifier
from chassis.calls.client import ServiceClient
from chassis.calls.discovery import Discovery
from chassis.calls.operation import Api, Operation
from chassis.config import Settings
from chassis.database.pool import Database
from chassis.database.tables import Schema, Table
from chassis.database.unit_of_work import S
from chassis.jobs.deadlines import Deadlines
from chassis.jobs.tasks import Tasks
from chassis.messaging.subscriptions import Subscriptions


class Resource(Protocol):
    """Something of a service's own that is open while the service runs, such as connections to a cache."""

    def __init__(self, settings: Any) -> None: ...

    async def close(self) -> None: ...


R = TypeVar("R", bound=Resource)
T = TypeVar("T")


@dataclass(frozen=True)
class Service:
    """The table of contents of a service.

    `calls` are the APIs that the service may call, none of a layer above. `public` and `hooks` are the paths of its
    public API and of its signed webhooks, if it has any. `after_commit` names functions that get the rows which a
    commit wrote. They must not wait, and what they do may get lost.
    """

    api: Api
    routers: Sequence[APIRouter] = ()
    subscriptions: Subscriptions = field(default_factory=Subscriptions)
    deadlines: Deadlines = field(default_factory=Deadlines)
    tasks: Tasks = field(default_factory=Tasks)
    calls: Sequence[Api] = ()
    settings: type[Settings] = Settings
    schema: Schema | None = None
    public: str | None = None
    hooks: str | None = None
    after_commit: Mapping[type[Table], Callable[["Runtime[Any]", Sequence[Any]], None]] = field(default_factory=dict)

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
    """Imports no service: a process that runs one service neither pays for the others nor fails with them."""
    return sorted(entry_points(group="services").names)


class Runtime(Generic[S]):
    """What a running service holds: settings, database, and ways to call others.

    `Runtime[OrderSettings]` says whose settings `runtime.settings` are.
    """

    def __init__(
        self,
        service: Service,
        settings: S,
        database: Database[S],
        discovery: Discovery,
        http: httpx.AsyncClient,
    ) -> None:
        self.service, self.database, self.http = service, database, http
        self.stop = asyncio.Event()  # set when the process is to end
        self.token_verifier = TokenVerifier(settings.token_issuer, settings.service_key, discovery, http)
        self._settings, self._discovery = settings, discovery
        self._clients: dict[tuple[Api, bool], ServiceClient] = {}
        self._resources: dict[type[Any], Any] = {}

    @property
    def settings(self) -> S:
        return self._settings

    async def call(self, operation: Operation[T], *, as_service: bool = False, **request: Any) -> T:
        """Call an operation of another service with the caller's token, or as this service itself.

        `request` are the parameters of the path, `body`, `query` and `headers`: see `ServiceClient.call`.
        """
        api = operation.api
        if api not in self.service.calls:
            raise ValueError(f"{self.service.name} does not declare that it calls {api.name}")
        if (api, as_service) not in self._clients:
            key = self.settings.service_key if as_service else None
            self._clients[api, as_service] = ServiceClient(self.service.name, api, self._discovery, self.http, key)
        return await self._clients[api, as_service].call(operation, **request)

    def resource(self, kind: type[R]) -> R:
        """The one `kind(settings)` of this service, made at the first use and closed at the end."""
        if kind not in self._resources:
            self._resources[kind] = kind(self.settings)
        return cast(R, self._resources[kind])

    async def close(self) -> None:
        for resource in self._resources.values():
            await resource.close()
        await self.http.aclose()
