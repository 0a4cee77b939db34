"""Pages of a list in a fixed order. A cursor says behind which row the next page begins; clients do not read it."""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel

from chassis.errors import Problem

T = TypeVar("T")
Row = TypeVar("Row")

Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(max_length=1000)]


class InvalidCursor(Problem):
    status, code, detail = 422, "invalid_cursor", "The cursor is not one that was given out here."


class Page(BaseModel, Generic[T]):
    """Some items, and the cursor of the page after them, if there is one."""

    items: list[T]
    next_cursor: str | None


def decode_cursor(cursor: str | None, start: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values behind which a page begins: those of the cursor, or without one `start`, whose types they have."""
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
