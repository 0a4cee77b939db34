"""What the gateway has to know of a service, read from the service itself."""

import re
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from chassis.service import Service, installed

METHODS = {"get", "put", "post", "delete", "patch"}
STREAM = "text/event-stream"


@dataclass(frozen=True)
class Operation:
    """A method, and a regular expression for the path."""

    method: str
    path: str


@dataclass(frozen=True)
class ExposedService:
    """A service behind the gateway: where its hooks are, what can be done with and without a token, what lasts."""

    name: str
    hooks: str | None
    open: list[Operation]
    secured: list[Operation]
    streams: list[Operation]

    @classmethod
    def of(cls, name: str, openapi: dict[str, Any], hooks: str | None = None) -> "ExposedService":
        """From an OpenAPI document: an operation with `security` needs a token; an event stream may last."""
        part = cls(name, hooks, [], [], [])
        for path, methods in openapi["paths"].items():
            for method in METHODS & methods.keys():
                operations = part.secured if methods[method].get("security") else part.open
                operations.append(Operation(method.upper(), pattern(path)))
                if STREAM in methods[method].get("responses", {}).get("200", {}).get("content", {}):
                    part.streams.append(operations[-1])
        return part


def pattern(path: str) -> str:
    """`/orders/{order_id}` as a regular expression that matches one segment for each parameter."""
    return "".join("[^/]+" if piece.startswith("{") else re.escape(piece) for piece in re.split(r"(\{[^}]*\})", path))


def declared() -> list[ExposedService]:
    """All installed services."""
    return [ExposedService.of(service.name, openapi(service), service.hooks) for service in installed().values()]


def openapi(service: Service) -> dict[str, Any]:
    app = FastAPI(title=service.name)
    for router in service.routers:
        app.include_router(router)
    return app.openapi()
