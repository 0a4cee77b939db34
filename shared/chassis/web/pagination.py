"""Pages of a list in a fixed order (keyset pagination). A cursor is opaque: the next page begins after its row."""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from chassis.errors import Problem

T = TypeVar("T")
Row = TypeVar("Row")

Limit = Annotated[int, Query(ge=1, le=100, description="How many items a page has at most.")]
Cursor = Annotated[str | None, Query(max_length=1000, description="`next_cursor` of the page before.")]


class InvalidCursor(Problem):
    """The cursor was not issued for this list. Begin again without a cursor."""

    status, code, detail = 422, "invalid_cursor", "The cursor was not issued for this list."


class Page(BaseModel, Generic[T]):
    """Some items of a list, in its order."""

    model_config = ConfigDict(json_schema_extra={"description": "Some items of a list, in its order."})
    items: list[T] = Field(description="At most `limit` items; fewer, or none, on the last page.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null on the last page.")

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """`PageOfOrderView`, as documents and generated clients show it."""
        return f"PageOf{params[0].__name__}"


def decode_cursor(cursor: str | None, start: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values after which the page begins. Without a cursor these are `start`, whose types the values also have."""
    if cursor is None:
        return start
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        found = tuple(_read(type(first), value) for first, value in zip(start, values, strict=True))
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise InvalidCursor(field="cursor") from None
    if "\x00" in "".join(value for value in found if isinstance(value, str)):
        raise InvalidCursor(field="cursor")
    return found


def _read(kind: type[Any], value: Any) -> Any:
    return datetime.fromisoformat(value).astimezone(UTC) if kind is datetime else kind(value)


def page(rows: Sequence[Row], limit: int, view: Callable[[Row], T], place: Callable[[Row], tuple[Any, ...]]) -> Page[T]:
    """A page of `limit` from up to `limit + 1` rows. `place` gives what `decode_cursor` will give back."""
    following = None
    if len(rows) > limit:
        text = json.dumps([str(value) for value in place(rows[limit - 1])], separators=(",", ":"))
        following = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    return Page(items=[view(row) for row in rows[:limit]], next_cursor=following)
