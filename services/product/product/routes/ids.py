"""The query parameter `ids` of lists."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

MAX_IDS = 100
ID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


async def _parse_ids(
    ids: Annotated[
        str | None,
        Query(
            description=f"Up to {MAX_IDS} ids, separated by commas. The answer is one page with those that exist,"
            " and no other filter applies.",
            max_length=4_000,
            pattern=f"^({ID}(,{ID}){{0,{MAX_IDS - 1}}})?$",
            examples=["0197f1de-6f0a-7c3f-9c44-1f1d5f6b9a01"],
        ),
    ] = None,
) -> list[UUID] | None:
    return None if ids is None else [UUID(id) for id in ids.split(",") if id]


Ids = Annotated[list[UUID] | None, Depends(_parse_ids)]
