"""The response headers of this service, for its OpenAPI document."""

from typing import Any

from chassis.errors import Problem
from chassis.web import raises

Responses = dict[int | str, Any]

_RETRY_AFTER = {"Retry-After": {"description": "Try again after this many seconds.", "schema": {"type": "integer"}}}


def cache_control(value: str, status: int = 200) -> Responses:
    header = {"description": f"`{value}`", "schema": {"type": "string"}}
    return {status: {"headers": {"Cache-Control": header}}}


def raises_with_retry(*problems: type[Problem]) -> Responses:
    """`raises`, where the answers 429 and 503 say when to try again."""
    responses = raises(*problems)
    for status in responses.keys() & {429, 503}:
        responses[status]["headers"] = _RETRY_AFTER
    return responses
