"""What several routes add to the OpenAPI document."""

from chassis.errors import IdempotencyKeyReused, InProgress
from chassis.web import response_header

NO_STORE = response_header("Cache-Control", "`no-store`: no cache may keep the response.")
IDEMPOTENT = (IdempotencyKeyReused, InProgress)  # the called service answers them, for the key that is passed on
