"""Everything that can go wrong at an entrance, as RFC 9457 problem details."""

from typing import Any


class Problem(Exception):
    """An error with a status and a code, told to whoever caused it. Subclass it and name the fact."""

    status: int = 500
    code: str = "internal"
    detail: str = "Something went wrong here."

    def __init__(
        self, detail: str | None = None, *, field: str | None = None, retry_after: int | None = None, **members: Any
    ):
        self.detail = detail or self.detail
        self.retry_after = retry_after
        self.members = members
        if field is not None:
            self.members["errors"] = [{"field": field, "code": self.code, "detail": self.detail}]
        super().__init__(f"{self.code}: {self.detail}")


class InvalidJson(Problem):
    status, code, detail = 400, "invalid_json", "The body is not JSON."


class InvalidInput(Problem):
    status, code, detail = 422, "invalid_input", "The input does not fit; see errors."


class Unauthenticated(Problem):
    status, code, detail = 401, "unauthenticated", "A valid access token is needed."


class Forbidden(Problem):
    status, code, detail = 403, "forbidden", "This needs a role that the token does not carry."


class NotFound(Problem):
    status, code, detail = 404, "not_found", "There is nothing here."


class MethodNotAllowed(Problem):
    status, code, detail = 405, "method_not_allowed", "That cannot be done here."


class BodyTooLarge(Problem):
    status, code, detail = 413, "body_too_large", "The body is larger than is taken here."


class IdempotencyKeyReused(Problem):
    status, code, detail = 409, "idempotency_key_reused", "This Idempotency-Key was used with another body."


class Conflict(Problem):
    status, code, detail = 409, "conflict", "Somebody else changed this at the same moment; try again."


class InProgress(Problem):
    status, code, detail = 409, "in_progress", "A request with this Idempotency-Key is being worked on."


class Unavailable(Problem):
    status, code, detail = 503, "unavailable", "A part that this needs is away; try again."


class TimedOut(Problem):
    status, code, detail = 504, "timed_out", "This took longer than the caller would wait."
