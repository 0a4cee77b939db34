"""What the gateway has to know of each service, read from the service itself."""

import re
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from chassis.service import Service, installed

METHODS = {"get", "put", "post", "delete", "patch"}
STREAM = "text/event-stream"


@dataclass(frozen=True)
class ExposedOperation:
    """A method, and a regular expression for the path."""

    method: str
    path: str


@dataclass(frozen=True)
class ExposedService:
    """A service behind the gateway: the prefix of its webhooks, operations without and with a token, and streams."""

    name: str
    hooks: str | None
    open: list[ExposedOperation]
    secured: list[ExposedOperation]
    streams: list[ExposedOperation]

    @classmethod
    def from_openapi(cls, name: str, document: dict[str, Any], hooks: str | None = None) -> "ExposedService":
        """From an OpenAPI document: an operation with `security` needs a token; an event stream has no time limit."""
        service = cls(name, hooks, [], [], [])
        for path, methods in document["paths"].items():
            for method in METHODS & methods.keys():
                operations = service.secured if methods[method].get("security") else service.open
                operations.append(ExposedOperation(method.upper(), path_regex(path)))
                if STREAM in methods[method].get("responses", {}).get("200", {}).get("content", {}):
                    service.streams.append(operations[-1])
        return service


def path_regex(path: str) -> str:
    """`/orders/{order_id}` as a regular expression that matches one segment for each parameter."""
    return "".join("[^/]+" if piece.startswith("{") else re.escape(piece) for piece in re.split(r"(\{[^}]*\})", path))


def exposed_services() -> list[ExposedService]:
    """All installed services."""
    return [
        ExposedService.from_openapi(service.name, openapi_document(service), service.hooks)
        for service in installed().values()
    ]


def openapi_document(service: Service) -> dict[str, Any]:
    app = FastAPI(title=service.name)
    for router in service.routers:
        app.include_router(router)
    return app.openapi()
