"""The public API as an OpenAPI 3.1 document."""

from functools import cache
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse

from aggregator import account, catalogue, checkout, dashboard, orders, streams

router = APIRouter(prefix="/api/v1", include_in_schema=False)
PUBLIC = [it.router for it in (catalogue, account, checkout, orders, streams, dashboard)]

PROBLEM = {
    "type": "object",
    "description": "What went wrong, RFC 9457. `code` names the fact; `errors` the fields, where input did not fit.",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "code", "detail"],
                "properties": {name: {"type": "string"} for name in ("field", "code", "detail")},
            },
        },
    },
}


@router.get("/openapi.json")
async def openapi() -> JSONResponse:
    return JSONResponse(document())


@cache
def document() -> dict[str, Any]:
    """Each operation with its answers; every error is a Problem."""
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
