"""Every route of every service, asked by each role alone: roles that the route does not declare are turned away."""

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, get_args

import httpx
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from chassis.database import new_id
from chassis.process.operations import operations
from chassis.service import Service, installed, installed_names
from chassis.testing import Launch, Launched, token
from chassis.web import Caller, Operator, ServiceCaller, Staff

ROLES = ("anonymous", "customer", "staff", "operator", "service")
LETS_IN = {
    get_args(Caller)[1].dependency: {"customer", "staff", "operator", "service"},
    get_args(Staff)[1].dependency: {"staff", "service"},  # services do what they want: they have checked their caller
    get_args(Operator)[1].dependency: {"operator", "service"},
    get_args(ServiceCaller)[1].dependency: {"service"},
}
# Routes that answer without a token, and why.
OPEN = {
    "GET /livez": "for what keeps the process alive",
    "GET /readyz": "for balancers",
    "GET /metrics": "for scrapers, on the internal network",
    "GET /.well-known/jwks.json": "the keys with which tokens are verified",
    "GET /api/v1/products": "browsing needs no account",
    "GET /api/v1/products/{product_id}": "browsing needs no account",
    "GET /api/v1/categories": "browsing needs no account",
    **dict.fromkeys(("POST /accounts", "POST /api/v1/accounts"), "whoever registers has no account yet"),
    **dict.fromkeys(("POST /tokens", "POST /api/v1/tokens"), "password or refresh token prove who is asking"),
    **dict.fromkeys(("POST /tokens/revocation", "POST /api/v1/tokens/revocation"), "the refresh token is the proof"),
    **dict.fromkeys(("POST /password-resets", "POST /api/v1/password-resets"), "the password is forgotten"),
    **dict.fromkeys(
        ("POST /password-resets/uses", "POST /api/v1/password-resets/uses"), "the secret in a mail is the proof"
    ),
    **dict.fromkeys(
        ("GET /erasures/{erasure_id}", "GET /api/v1/erasures/{erasure_id}"), "there is no account any more"
    ),
    "POST /unsubscriptions": "the token in a mail is the proof",
    "POST /api/v1/unsubscriptions": "the token in a mail is the proof",
    "POST /api/v1/unsubscriptions/{token}": "the token in a mail is the proof",
}


@pytest.mark.parametrize("name", installed_names())
async def test_a_route_answers_the_roles_that_it_declares_and_no_other(name: str, launch: Launch) -> None:
    service = installed()[name]
    launched = await launch(service, **_secrets(service))
    clients = {role: _client(launched, role) for role in ROLES}
    found = await asyncio.gather(*[_wrong(service, route, clients) for route in _routes(launched)])
    for client in clients.values():
        await client.aclose()
    wrong = [line for lines in found for line in lines]
    assert not wrong, "\n".join(wrong)


def test_each_route_that_is_listed_as_open_exists_and_is() -> None:
    routes = [route for service in installed().values() for router in service.routers for route in router.routes]
    is_open = {
        f"{next(iter(it.methods or ()))} {it.path}"
        for it in routes
        if isinstance(it, APIRoute) and not _roles(it.dependant)
    }
    assert OPEN.keys() - is_open == {"GET /livez", "GET /readyz", "GET /metrics"}


def _routes(launched: Launched) -> Iterator[APIRoute]:
    instance = launched.instance
    for router in [*instance.service.routers, operations(instance.runtime, instance.consumer, {}, instance.stop)]:
        for route in router.routes:
            assert isinstance(route, APIRoute), f"a route of a kind that is not known here: {route}"
            yield route


async def _wrong(service: Service, route: APIRoute, clients: dict[str, httpx.AsyncClient]) -> list[str]:
    """A line for each role that a method of the route lets in or turns away against its declaration."""
    path, signed = route.path, service.hooks is not None and route.path.startswith(service.hooks)
    for parameter in route.dependant.path_params:
        name = parameter.alias
        path = path.replace(f"{{{name}}}", str(new_id())).replace(f"{{{name}:path}}", "key")
    found = []
    for method in sorted(route.methods or ()):
        expected = _roles(route.dependant)
        if signed:
            expected = set()  # no role helps: the request itself has to be signed
        if expected is None and f"{method} {route.path}" not in OPEN:
            found.append(f"{service.name}: {method} {route.path} declares no caller, and no reason is listed")
        for role, client in clients.items():
            async with client.stream(method, path) as answer:  # of a stream of events the status is enough
                let_in = await _let_in(answer)
            if let_in != (expected is None or role in expected):
                found.append(f"{service.name}: {method} {route.path} answers {role} with {answer.status_code}")
    return found


async def _let_in(answer: httpx.Response) -> bool:
    if answer.status_code not in (401, 403):
        return True
    detail = (await answer.aread()) and answer.json()["detail"]
    return bool(detail == "This operation is for people, not for services.")


def _roles(dependant: Dependant) -> set[str] | None:
    """Those that all of its dependencies let in; None when none of them asks who is calling."""
    found = [LETS_IN[it] for it in _calls(dependant) if it in LETS_IN]
    return set.intersection(*found) if found else None


def _calls(dependant: Dependant) -> Iterator[Any]:
    yield dependant.call
    for below in dependant.dependencies:
        yield from _calls(below)


def _client(launched: Launched, role: str) -> httpx.AsyncClient:
    if role == "anonymous":
        return launched.client()
    return launched.as_service() if role == "service" else launched.client(token(new_id(), role))


def _secrets(service: Service) -> dict[str, str]:
    """Settings without a default."""
    secret = b64encode(b"a secret of this test").decode()
    return {name: secret for name in service.settings.model_fields if name.endswith("_webhook_secret")}
