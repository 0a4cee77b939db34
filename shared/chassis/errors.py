"""Everything that can go wrong at an entrance: a class for each fact, with its HTTP status and its code.

The class docstrings say when a problem occurs and what a client does about it; `docs/errors.md` is made from them.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

TYPES = "/docs/errors#"  # the `type` of a problem is this and its code; a fork may put an absolute address here


class Problem(Exception):
    """The server failed in a way that it did not expect. Try again later; if it stays, report the trace id."""

    status: int = 500
    code: str = "internal"
    detail: str = "Something went wrong in the server."
    commits: ClassVar[bool] = False  # True: what the request has written is committed all the same

    def __init__(
        self, detail: str | None = None, *, field: str | None = None, retry_after: int | None = None, **members: Any
    ):
        """`field` names the input that is wrong, `retry_after` is in seconds, `members` are added to the answer."""
        self.detail = detail or self.detail
        self.headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        self.members = members
        if field is not None:
            self.members["errors"] = [{"field": field, "code": self.code, "detail": self.detail}]
        super().__init__(f"{self.code}: {self.detail}")


def problem_types(base: type[Problem] = Problem) -> Iterator[type[Problem]]:
    """The class of every problem that is imported in this process."""
    yield base
    for below in base.__subclasses__():
        yield from problem_types(below)


class InvalidJson(Problem):
    """The body cannot be parsed as JSON. Send JSON with the content type `application/json`."""

    status, code, detail = 400, "invalid_json", "The body is not JSON."


class InvalidInput(Problem):
    """The input breaks a rule of the API. `errors` lists each field with its code; correct them and send again."""

    status, code, detail = 422, "invalid_input", "The input is not valid; see errors."


class Unauthenticated(Problem):
    """The access token is missing, has expired, or is not ours. Sign in, or refresh the tokens, and send again."""

    status, code, detail = 401, "unauthenticated", "A valid access token is needed."


class Forbidden(Problem):
    """The token is valid, but lacks the role that the operation needs. Ask an operator for the role.

    An operation about the caller's own account is also refused to a service.
    """

    status, code, detail = 403, "forbidden", "This needs a role that the token does not carry."


class NotFound(Problem):
    """No operation has this path. Look the path up in the API's document."""

    status, code, detail = 404, "not_found", "No resource has this path."


class MethodNotAllowed(Problem):
    """The path exists, but not with this method. The header `Allow` lists the methods."""

    status, code, detail = 405, "method_not_allowed", "This resource does not have this method."


class BodyTooLarge(Problem):
    """The body is larger than the server accepts, which is 1 MiB. Send less."""

    status, code, detail = 413, "body_too_large", "The body is larger than the server accepts."


class IdempotencyKeyReused(Problem):
    """The same Idempotency-Key came with another body. Use a new key for a new request."""

    status, code, detail = 409, "idempotency_key_reused", "This Idempotency-Key was used with another body."


class Conflict(Problem):
    """Another request changed the same thing at the same moment. Send the request again."""

    status, code, detail = 409, "conflict", "Another request changed this at the same moment; try again."


class InProgress(Problem):
    """The first request with this Idempotency-Key is not finished. Send the request again after `Retry-After`."""

    status, code, detail = 409, "in_progress", "A request with this Idempotency-Key is in progress."


class Unavailable(Problem):
    """A service that the operation needs is away. Send the request again after `Retry-After`."""

    status, code, detail = 503, "unavailable", "A service that this needs is away; try again."


class RateLimited(Problem):
    """The caller sent more requests than the gateway passes on. Send the request again after `Retry-After`."""

    status, code, detail = 429, "rate_limited", "Too many requests. Try again in a moment."


class RequestTimedOut(Problem):
    """The gateway waited too long for the rest of the request. Send the request again, whole."""

    status, code, detail = 408, "request_timed_out", "The request did not arrive in time."


class RefusedByGateway(Problem):
    """The gateway cannot pass the request on, with a status that says why: 431 means too large headers. Correct it."""

    status, code, detail = 400, "refused_by_gateway", "The gateway refused the request."


class TimedOut(Problem):
    """The operation took longer than the client would wait. It may have happened: repeat it with the same key."""

    status, code, detail = 504, "timed_out", "The operation took longer than the client would wait."
