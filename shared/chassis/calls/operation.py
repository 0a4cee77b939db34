"""Layered APIs and their operations: a contract declares `get_order = api.get("/orders/{id}", OrderView)`.

The owner serves an operation by a route, its callers call it by name. `make check` holds each declaration against the
owner's OpenAPI document, so that a renamed route is found without starting anything.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any, Generic, TypeVar, overload

from pydantic import TypeAdapter

from chassis.errors import Problem

T = TypeVar("T")
Names = tuple[str, ...]
Problems = tuple[type[Problem], ...]


class Layer(IntEnum):
    """Calls and commands go down, events go up."""

    SYSTEM = 1
    PROCESS = 2
    EXPERIENCE = 3


@dataclass(frozen=True)
class Api:
    """A service as its callers know it. A service may call an API if it may import its contract."""

    name: str
    layer: Layer

    @overload
    def get(self, path: str, answer: type[T], *, query: Names = (), raises: Problems = ()) -> "Operation[T]": ...
    @overload
    def get(self, path: str, answer: Any, *, query: Names = (), raises: Problems = ()) -> "Operation[Any]": ...
    def get(self, path: str, answer: Any, *, query: Names = (), raises: Problems = ()) -> "Operation[Any]":
        """An operation that reads. `query` names the parameters that callers may give."""
        return Operation(self, "GET", path, answer, query=query, problems=raises)

    @overload
    def post(self, path: str, answer: None = None, *, body: Any = None, raises: Problems = ()) -> "Operation[None]": ...
    @overload
    def post(self, path: str, answer: type[T], *, body: Any = None, raises: Problems = ()) -> "Operation[T]": ...
    def post(self, path: str, answer: Any = None, *, body: Any = None, raises: Problems = ()) -> "Operation[Any]":
        """An operation that creates something, or does something."""
        return Operation(self, "POST", path, answer, body, problems=raises)

    @overload
    def put(self, path: str, answer: type[T], *, body: Any = None, raises: Problems = ()) -> "Operation[T]": ...
    @overload
    def put(self, path: str, answer: Any = None, *, body: Any = None, raises: Problems = ()) -> "Operation[Any]": ...
    def put(self, path: str, answer: Any = None, *, body: Any = None, raises: Problems = ()) -> "Operation[Any]":
        """An operation that replaces something."""
        return Operation(self, "PUT", path, answer, body, problems=raises)

    def delete(self, path: str, answer: type[T], *, raises: Problems = ()) -> "Operation[T]":
        """An operation that removes something."""
        return Operation(self, "DELETE", path, answer, problems=raises)


@dataclass(frozen=True)
class Operation(Generic[T]):
    """One operation: its method, its path with parameters in braces, and the types of its body and its answer."""

    api: Api
    method: str
    path: str
    answer: Any
    body: Any = None
    query: Names = ()
    problems: Problems = ()  # that the owner's route itself raises

    def read(self, content: bytes) -> T:
        """The answer, validated into its type. An operation without one answers None."""
        return _adapter(self.answer).validate_json(content) if self.answer is not None else None  # type: ignore[return-value]


@cache
def _adapter(answer: Any) -> TypeAdapter[Any]:
    return TypeAdapter(answer)
