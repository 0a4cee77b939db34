"""Every error as problem details (RFC 9457): which problem an exception is, and the answer that says so."""

import logging
from http import HTTPStatus
from typing import Any

import asyncpg
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import Route

from chassis import errors
from chassis.database.errors import RETRYABLE, is_transient
from chassis.errors import Problem

logger = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}


def as_problem(error: Exception) -> Problem:
    """Every error as a problem. An error that is ours to mend is logged here, once."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid_input(error)
    if isinstance(error, HTTPException):
        return _problem_of_framework(error)
    if isinstance(error, TimeoutError):
        return errors.TimedOut()
    if isinstance(error, RETRYABLE):
        return errors.Conflict()
    if isinstance(error, (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)):
        return errors.InvalidInput("A text holds a NUL, which cannot be stored.")
    if is_transient(error):
        logger.warning("the database was away for a request", extra={"error": repr(error)})
        return errors.Unavailable(retry_after=1)
    logger.error("a request failed", exc_info=error)
    return Problem()


def _problem_of_framework(error: HTTPException) -> Problem:
    if isinstance(error.__cause__, Problem):  # FastAPI turns every error while it reads a body into a 400
        return error.__cause__
    kinds = {400: errors.InvalidJson, 404: errors.NotFound, 405: errors.MethodNotAllowed}
    problem = kinds.get(error.status_code, errors.InvalidInput)()
    problem.headers |= error.headers or {}
    return problem


def _invalid_input(error: RequestValidationError) -> Problem:
    found = error.errors()
    if any(it["type"] == "json_invalid" for it in found):
        return errors.InvalidJson()
    fields = [
        {
            "field": ".".join(_path(it)) or str(it["loc"][0]),
            "code": it["type"],
            "detail": it["msg"],
        }
        for it in found
    ]
    return errors.InvalidInput(errors=fields)


def _path(error: dict[str, Any]) -> list[str]:
    """The path below the body or the like. Where no variant of a union fits, the field that selects one is at fault."""
    discriminator = error.get("ctx", {}).get("discriminator", "").strip("'")
    return [*map(str, error["loc"][1:]), *filter(None, [discriminator])]


def as_json(problem: Problem | type[Problem]) -> dict[str, Any]:
    """The members that every problem has. `type` is the place of its code on the page of all errors."""
    return {
        "type": f"{errors.TYPES}{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
    }


def response_to(problem: Problem) -> JSONResponse:
    """The answer for a problem."""
    return JSONResponse(as_json(problem) | problem.members, problem.status, problem.headers, media_type=MEDIA_TYPE)


async def render_problem(request: Request, error: Exception) -> JSONResponse:
    """An exception handler for FastAPI."""
    problem = as_problem(error)
    if isinstance(problem, errors.MethodNotAllowed):
        problem.headers["Allow"] = ", ".join(sorted(_methods_of(request)))
    return response_to(problem)


def _methods_of(request: Request) -> set[str]:
    """The methods of all routes of the path. FastAPI itself names those of the first route only."""
    routes = (it for it in iter_route_contexts(request.app.routes) if isinstance(it.original_route, Route | APIRoute))
    return {method for it in routes if it.path_regex.match(request.url.path) for method in it.methods or ()}


def raises(*problems: type[Problem]) -> dict[int | str, Any]:
    """The `responses=` of a route for the problems that the route itself raises: by status, with an example of each.

    What any route may answer (401, 403, 422, 503, …) follows from its dependencies and is not repeated here.
    """
    responses: dict[int | str, Any] = {}
    for problem in problems:
        empty = {"description": "", "content": {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA, "examples": {}}}}
        response = responses.setdefault(problem.status, empty)
        response["description"] = f"{response['description']} `{problem.code}`: {problem.detail}".strip()
        response["content"][MEDIA_TYPE]["examples"][problem.code] = {"value": as_json(problem)}
        if problem.status in (429, 503):
            response |= _header("Retry-After", "Seconds to wait before the next try.", "integer")
    return responses


def response_header(name: str, description: str, status: int = 200) -> dict[int | str, Any]:
    """The `responses=` of a route for a header of its answer: `response_header("Location", "The order.", 202)`."""
    return {status: _header(name, description, "string")}


def _header(name: str, description: str, type_: str) -> dict[str, Any]:
    return {"headers": {name: {"description": description, "schema": {"type": type_}}}}
