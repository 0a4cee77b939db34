"""The ASGI application of a service."""

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from chassis.errors import Problem
from chassis.service import Runtime
from chassis.web.docs import add_docs
from chassis.web.middleware import RequestMiddleware
from chassis.web.problems import render_problem


def application(runtime: Runtime[Any], *more: APIRouter) -> FastAPI:
    """The routes of the service and `more` routes, within the middleware that every request passes."""
    app = FastAPI(title=runtime.service.name, openapi_url=None, redirect_slashes=False)
    app.state.runtime = runtime
    for router in [*runtime.service.routers, *more]:
        app.include_router(router)
    add_docs(app, runtime.service)
    for kind in (Problem, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, render_problem)
    app.add_middleware(RequestMiddleware, runtime=runtime)
    return app
