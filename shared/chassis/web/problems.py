"""Every error as problem details (RFC 9457): which problem an exception is, and the answer that tells it."""

import logging
from http import HTTPStatus
from typing import Any

import asyncpg
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from chassis import errors
from chassis.database.errors import RETRYABLE, is_transient
from chassis.errors import Problem

logger = logging.getLogger(__name__)
PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}


def as_problem(error: Exception) -> Problem:
    """Every error as a problem; what is ours to mend is logged here, once."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        if isinstance(error.__cause__, Problem):  # FastAPI takes all that goes wrong while a body is read for a 400
            return error.__cause__
        return {400: errors.InvalidJson, 404: errors.NotFound, 405: errors.MethodNotAllowed}.get(
            error.status_code, errors.InvalidInput
        )()
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


def _invalid(error: RequestValidationError) -> Problem:
    found = error.errors()
    if any(it["type"] == "json_invalid" for it in found):
        return errors.InvalidJson()
    fields = [
        {
            "field": ".".join(str(part) for part in it["loc"][1:]) or str(it["loc"][0]),
            "code": it["type"],
            "detail": it["msg"],
        }
        for it in found
    ]
    return errors.InvalidInput(errors=fields)


def response_to(problem: Problem) -> JSONResponse:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        **problem.members,
    }
    headers = {"retry-after": str(problem.retry_after)} if problem.retry_after is not None else None
    return JSONResponse(body, problem.status, headers, media_type="application/problem+json")


async def render_problem(request: Request, error: Exception) -> JSONResponse:
    """An exception handler of FastAPI."""
    return response_to(as_problem(error))


def raises(*problems: type[Problem]) -> dict[int | str, Any]:
    """The `responses=` of a route for the problems that it raises itself, by status, with an example of each.

    What any route may answer (401, 403, 422, 503, …) follows from its dependencies and is not repeated here.
    """
    responses: dict[int | str, Any] = {}
    for problem in problems:
        title = HTTPStatus(problem.status).phrase
        empty = {"description": "", "content": {"application/problem+json": {"schema": PROBLEM_SCHEMA, "examples": {}}}}
        response = responses.setdefault(problem.status, empty)
        response["description"] = f"{response['description']} `{problem.code}`: {problem.detail}".strip()
        example = {"title": title, "status": problem.status, "code": problem.code, "detail": problem.detail}
        response["content"]["application/problem+json"]["examples"][problem.code] = {"value": example}
    return responses
