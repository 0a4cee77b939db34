"""What routes add to the OpenAPI document: headers of their responses, and problems of the Idempotency-Key."""

from typing import Any

from chassis.errors import IdempotencyKeyReused, InProgress
from chassis.web import raises


def header(name: str, description: str) -> dict[str, Any]:
    """`responses={202: header("Location", "The order.")}`"""
    return {"headers": {name: {"description": description, "schema": {"type": "string"}}}}


NO_STORE = header("Cache-Control", "`no-store`: no cache may keep the response.")
IDEMPOTENT = raises(IdempotencyKeyReused, InProgress)
IDEMPOTENT[409] |= header("Retry-After", "With `in_progress`: seconds until the request may be repeated.")
