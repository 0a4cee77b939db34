"""The public API as an OpenAPI 3.1 document."""

from functools import cache
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse

from aggregator import account, aftersales, catalogue, checkout, dashboard, orders, preferences, sessions, streams

router = APIRouter(prefix="/api/v1", include_in_schema=False)
PARTS = (catalogue, account, sessions, preferences, checkout, orders, aftersales, streams, dashboard)
PUBLIC = [part.router for part in PARTS]

_TEXT = {"type": "string"}
_FIELDS = ("field", "code", "detail")
_FIELD_ERROR = {"type": "object", "required": [*_FIELDS], "properties": dict.fromkeys(_FIELDS, _TEXT)}
PROBLEM = {
    "type": "object",
    "description": "An error, RFC 9457. `code` names it; `errors` lists the fields whose input was refused.",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        **dict.fromkeys(("type", "title", "code", "detail"), _TEXT),
        "status": {"type": "integer"},
        "errors": {"type": "array", "items": _FIELD_ERROR},
    },
}


@router.get("/openapi.json")
async def openapi() -> JSONResponse:
    return JSONResponse(document())


@cache
def document() -> dict[str, Any]:
    """Every operation with its responses; every error is a Problem."""
    reference = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    refused: dict[int | str, dict[str, Any]] = {"default": {"description": "A problem", "content": reference}}
    app = FastAPI(
        title="Shop",
        version="1.0.0",
        description="Amounts are integers in the minor unit of the currency.",
        generate_unique_id_function=lambda route: route.name,
    )
    for part in PUBLIC:
        app.include_router(part, responses=refused)
    found = app.openapi()
    found["components"]["schemas"]["Problem"] = PROBLEM
    return found
