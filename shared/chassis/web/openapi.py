"""OpenAPI documents of a service, one for each audience: what the routes declare, and what follows from it.

A route's docstring is its documentation: the first line is the summary, the rest the description. Its dependencies say
who may call it and what any route of that kind may answer; `responses=raises(…)` adds its own problems.
"""

import inspect
import json
import re
from collections.abc import Iterator
from enum import StrEnum
from itertools import groupby
from typing import Any, cast

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts

from chassis import errors
from chassis.errors import Problem
from chassis.service import Service
from chassis.web.dependencies import RequiredRole, get_caller
from chassis.web.problems import raises
from chassis.web.transactions import TransactionRoute

PROBLEM = {
    "type": "object",
    "description": "What went wrong, as RFC 9457 has it. `code` names the fact, and `type` leads to its description.",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "The page that describes the code."},
        "title": {"type": "string", "description": "The phrase of the HTTP status."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "code": {"type": "string", "description": "What a program decides by. It does not change."},
        "detail": {"type": "string", "description": "A sentence for people. It may change."},
        "errors": {
            "type": "array",
            "description": "The fields that are not valid.",
            "items": {
                "type": "object",
                "required": ["field", "code", "detail"],
                "properties": {
                    "field": {"type": "string", "description": "The path of the field, with dots."},
                    "code": {"type": "string", "description": "The rule that the field breaks."},
                    "detail": {"type": "string", "description": "A sentence for people."},
                },
            },
        },
    },
}


_GENERIC_NAME = re.compile(r"\b([A-Z][a-z]+)_([A-Z][A-Za-z]+)_(?=[\"])")  # FastAPI's name for Page[OrderView]


class Audience(StrEnum):
    """For whom a document is."""

    PUBLIC = "public"  # clients of the gateway
    INTERNAL = "internal"  # staff, operators and other services
    HOOKS = "hooks"  # webhooks of other companies


def audience_of(service: Service, path: str) -> Audience:
    if service.public and path.startswith(f"{service.public}/"):
        return Audience.PUBLIC
    return Audience.HOOKS if service.hooks and path.startswith(f"{service.hooks}/") else Audience.INTERNAL


def audiences_of(service: Service) -> list[Audience]:
    """Those for whom the service has operations."""
    paths = [route.path_format or "" for router in service.routers for route in iter_route_contexts(router.routes)]
    found = {audience_of(service, path) for path in paths}
    return [audience for audience in Audience if audience in found]


def document(service: Service, audience: Audience) -> dict[str, Any]:
    """The OpenAPI document of a service for an audience. One without operations has no paths."""
    app = FastAPI(generate_unique_id_function=lambda route: route.name)
    for router in service.routers:
        app.include_router(router)
    routes = [
        route
        for route in iter_route_contexts(app.routes)
        if isinstance(route.original_route, APIRoute) and audience_of(service, route.path_format or "") == audience
    ]
    found = get_openapi(
        title=f"{service.name.capitalize()} API ({audience})",
        version="1.0.0",
        description="Amounts are integers in the minor unit of their currency, times are UTC, and every error is a "
        "Problem (RFC 9457).",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "/" if audience == Audience.PUBLIC else f"/{service.name}", "description": "The gateway"}],
        routes=routes,
    )
    components = found.setdefault("components", {})
    shared: dict[str, Any] = {}
    for route in routes:
        for method in (route.methods or ()) if route.include_in_schema else ():
            _complete(found["paths"][route.path_format][method.lower()], route, shared)
    components["responses"] = dict(sorted(shared.items()))
    found["tags"] = _tags(routes)
    schemas = components.setdefault("schemas", {})
    for operation in (it for operations in found["paths"].values() for it in operations.values()):
        _describe_success(operation, schemas)
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which nothing answers here
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM
    for field in (it for schema in schemas.values() for it in schema.get("properties", {}).values()):
        _describe_nullable(field)
    return cast(dict[str, Any], json.loads(_GENERIC_NAME.sub(r"\1Of\2", json.dumps(found))))


def _tags(routes: list[RouteContext]) -> list[dict[str, str]]:
    """Each tag with its description: the first sentence of the first module whose routes have the tag."""
    described: dict[str, str] = {}
    for route in routes:
        lines = (inspect.getdoc(inspect.getmodule(route.endpoint)) or "").splitlines()
        sentence = lines[0].removeprefix("HTTP in: ").partition(". ")[0].removesuffix(".") + "."
        for tag in route.tags if route.include_in_schema else ():
            described.setdefault(str(tag), sentence[0].upper() + sentence[1:])
    return [{"name": tag, "description": text} for tag, text in described.items()]


def _describe_success(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """What a response contains, where FastAPI only says that it is successful: the first line about its schema."""
    for status, response in operation["responses"].items():
        if response.get("description") != "Successful Response":
            continue
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        of = schema.get("items", schema).get("$ref", "").rpartition("/")[2]
        empty = f"{'Accepted' if status == '202' else 'Done'}. The response has no body."
        otherwise = f"{operation['summary']}." if schema else empty
        text = schemas.get(of, {}).get("description", otherwise).partition("\n")[0]
        response["description"] = f"A list. Each item: {text[0].lower()}{text[1:]}" if "items" in schema else text


def _describe_nullable(field: dict[str, Any]) -> None:
    """A field that may be null has its description beside `anyOf`, where readers and generators look for it."""
    kinds = field.get("anyOf", [])
    if len(kinds) == 2 and kinds[1] == {"type": "null"}:
        for name in ("description", "examples"):
            if name in kinds[0]:
                field.setdefault(name, kinds[0].pop(name))


def _complete(operation: dict[str, Any], route: RouteContext, shared: dict[str, Any]) -> None:
    """Summary and description from the docstring, and the problems that follow from the dependencies.

    Responses that many operations have go to `shared`, where the operations refer to.
    """
    summary, _, description = (operation.pop("description", None) or "").partition("\n\n")
    operation["summary"] = " ".join(summary.split()).removesuffix(".") or operation["summary"]
    operation["description"] = description.strip() or operation["summary"] + "."
    roles = sorted({it.call.role for it in _dependencies(route.dependant) if isinstance(it.call, RequiredRole)})
    operation["security"] = [dict.fromkeys(it, roles) for it in operation.get("security", [])]
    responses = operation["responses"]
    for response in responses.values():  # FastAPI calls a stream of events a text
        response.get("content", {}).get("text/event-stream", {}).pop("schema", None)
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    common = sorted(_common_problems(route), key=lambda problem: (problem.status, problem.code))
    for status, problems in groupby(common, key=lambda problem: problem.status):
        kinds = list(problems)
        if str(status) in responses:
            _merge(responses[str(status)], raises(*kinds)[status])
        else:
            name = "Or".join(kind.__name__ for kind in kinds)
            shared[name] = raises(*kinds)[status]
            responses[str(status)] = {"$ref": f"#/components/responses/{name}"}
    operation["responses"] = dict(sorted(responses.items()))


def _common_problems(route: RouteContext) -> Iterator[type[Problem]]:
    """The problems that any route with these dependencies may answer."""
    dependant = route.dependant
    calls = [it.call for it in _dependencies(dependant)]
    if get_caller in calls:
        yield from (errors.Unauthenticated, errors.Forbidden)  # the latter also where a service calls as a person
    if route.body_field is not None:
        yield from (errors.InvalidJson, errors.BodyTooLarge)
    takes_input = any(it.path_params or it.query_params or it.header_params for it in _dependencies(dependant))
    if takes_input or route.body_field is not None:
        yield errors.InvalidInput
    if isinstance(route.original_route, TransactionRoute) and route.original_route.is_idempotent:
        yield from (errors.IdempotencyKeyReused, errors.InProgress)
    if route.methods != {"GET"}:
        yield errors.Conflict
    yield from (Problem, errors.Unavailable, errors.TimedOut)


def _dependencies(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for below in dependant.dependencies:
        yield from _dependencies(below)


def _merge(response: dict[str, Any], more: dict[str, Any]) -> None:
    """Add the problems of `more` to a response that the route declares."""
    if more["description"] not in response.get("description", ""):
        response["description"] = f"{response.get('description', '')} {more['description']}".strip()
    for media_type, content in more["content"].items():
        known = response.setdefault("content", {}).setdefault(media_type, {"schema": content["schema"]})
        known.setdefault("examples", {}).update(content["examples"])
