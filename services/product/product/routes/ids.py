"""The query parameter `ids` of lists."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

from chassis.errors import InvalidInput

MAX_IDS = 100


async def _parse_ids(
    ids: Annotated[
        str | None,
        Query(
            description=f"Up to {MAX_IDS} ids, separated by commas. The answer is one page with those that exist,"
            " and no other filter applies.",
            max_length=4_000,
        ),
    ] = None,
) -> list[UUID] | None:
    try:
        found = None if ids is None else [UUID(id) for id in ids.split(",") if id]
    except ValueError:
        raise InvalidInput(field="ids") from None
    if found is not None and len(found) > MAX_IDS:
        raise InvalidInput(f"At most {MAX_IDS} ids at a time.", field="ids")
    return found


Ids = Annotated[list[UUID] | None, Depends(_parse_ids)]
