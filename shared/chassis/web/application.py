"""The ASGI application of a service."""

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from chassis.errors import Problem
from chassis.service import Runtime
from chassis.web.middleware import Requests
from chassis.web.problems import render_problem


def application(runtime: Runtime, *more: APIRouter) -> FastAPI:
    """The ASGI application of a service."""
    service = runtime.service
    app = FastAPI(title=service.name, openapi_url="/openapi.json", docs_url=None, redoc_url=None)
    app.state.runtime = runtime
    for router in [*service.routers, *more]:
        app.include_router(router)
    for kind in (Problem, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, render_problem)
    app.add_middleware(Requests, runtime=runtime)
    return app
