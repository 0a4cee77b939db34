"""The pages that document a running service, under `/docs`: its OpenAPI documents, rendered, and its error codes.

The renderer (Swagger UI) comes from a package, so that the pages work without a network.
"""

import html
from functools import cache, partial
from importlib.resources import files

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from chassis.errors import NotFound, Problem, problem_types
from chassis.service import Service
from chassis.web.openapi import Audience, audiences_of, document

ERROR_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Error codes</title>
<style>body {{font: 1rem/1.5 system-ui; margin: 2rem auto; max-width: 60rem}} td, th {{padding: .3rem .6rem;
text-align: left; vertical-align: top}} tr:target {{background: #fff3bf}}</style></head><body><h1>Error codes</h1>
<table><tr><th>code</th><th>status</th><th>detail</th><th>when, and what to do</th></tr>{rows}</table></body></html>"""


def add_docs(app: FastAPI, service: Service) -> None:
    """`/docs/public`, `/docs/internal` or `/docs/hooks` with their `.json`, and `/docs/errors`.

    The public document is also at `/openapi.json` below the public prefix.
    """
    audiences = audiences_of(service)
    document_of = cache(partial(document, service))  # made at the first request: it costs a tenth of a second
    router = APIRouter(prefix="/docs", include_in_schema=False)

    def _known(audience: Audience) -> Audience:
        if audience not in audiences:
            raise NotFound()
        return audience

    @router.get("")
    async def redirect_to_docs() -> RedirectResponse:
        return RedirectResponse(f"docs/{next(iter(audiences), 'errors')}")

    @router.get("/errors")
    async def list_errors() -> HTMLResponse:
        return HTMLResponse(ERROR_PAGE.format(rows="".join(map(_row, problems()))))

    @router.get("/{audience}.json")
    async def get_document(audience: Audience) -> JSONResponse:
        return JSONResponse(document_of(_known(audience)))

    @router.get("/{audience}")
    async def show_document(audience: Audience) -> HTMLResponse:
        return _render(_known(audience), service)

    if service.public:

        @app.get(f"{service.public}/openapi.json", include_in_schema=False)
        async def get_public_document() -> JSONResponse:
            return JSONResponse(document_of(Audience.PUBLIC))

    app.include_router(router)
    app.mount("/docs/assets", StaticFiles(directory=str(files("fastapi_offline") / "static")))


def _render(audience: Audience, service: Service) -> HTMLResponse:
    return get_swagger_ui_html(
        openapi_url=f"{audience}.json",
        title=f"{service.name.capitalize()} API ({audience})",
        swagger_js_url="assets/swagger-ui-bundle.js",
        swagger_css_url="assets/swagger-ui.css",
        swagger_favicon_url="assets/favicon.png",
    )


def problems() -> list[type[Problem]]:
    """Every problem that is imported in this process: one for each code and status, in this order."""
    return list(dict(sorted({(it.code, it.status): it for it in problem_types()}.items())).values())


def _row(problem: type[Problem]) -> str:
    code, detail, when = map(html.escape, (problem.code, problem.detail, " ".join((problem.__doc__ or "").split())))
    return f'<tr id="{code}"><td><code>{code}</code></td><td>{problem.status}</td><td>{detail}</td><td>{when}</td></tr>'
