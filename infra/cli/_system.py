"""Access of the commands to the running system, through its gateway."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from chassis.calls.auth import service_token
from chassis.service import installed_names
from local import state
from local.errors import CommandError


def require_running_system() -> state.RunningSystem:
    found = state.running_system()
    if found is None:
        raise CommandError(f"nothing runs in {state.folder().parent}: start the system first, with `make run`")
    return found


class GatewayClient:
    """A client of one listener. A refused request, and a request without an answer, raise CommandError."""

    def __init__(self, url: str, token: str | None = None) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=15)

    def call(self, method: str, path: str, **request: Any) -> Any:
        try:
            answer = self._http.request(method, path, **request)
            body: Any = answer.json() if answer.content else None
            if answer.is_error:
                raise CommandError(f"{body['detail']} ({method} {path})")
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise CommandError(f"{method} {path} got no answer ({error!r}): is every service ready?") from error
        return body


def internal_gateway() -> GatewayClient:
    """The internal listener, with the rights of a service."""
    system = require_running_system()
    return GatewayClient(system.urls["internal"], service_token("cli", system.service_key))


def public_gateway(token: str | None = None) -> GatewayClient:
    """The public listener, with the rights of the token's owner."""
    return GatewayClient(f"{require_running_system().urls['public']}/api/v1", token)


def require_service(name: str) -> str:
    """The name, if a service has it."""
    if name not in installed_names():
        raise CommandError(f"there is no service {name}; there are {', '.join(installed_names())}")
    return name


class ServiceGroup:
    """Sends a request to several services at once. `missing` has the error of each service that did not answer."""

    def __init__(self, name: str | None = None) -> None:
        """One service, or all of them."""
        self.names = [require_service(name)] if name else installed_names()
        self.missing: dict[str, str] = {}
        self._gateway = internal_gateway()

    def request(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The answers by service to one request for `/internal/<path>` of each.

        Services that are missing already are left out: each would take as long as the gateway's time limit.
        """
        return self.request_each(method, path, {name: request for name in self.names if name not in self.missing})

    def request_each(self, method: str, path: str, requests: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The same with a request of its own for each of these services."""

        def answer_of(name: str) -> Any:
            try:
                return self._gateway.call(method, f"/{name}/internal/{path}", **requests[name])
            except CommandError as error:
                return error

        with ThreadPoolExecutor(len(requests) or 1) as threads:
            answers = dict(zip(requests, threads.map(answer_of, requests), strict=True))
        for name, it in answers.items():
            self.missing.pop(name, None)
            if isinstance(it, CommandError):
                self.missing[name] = str(it)
        return {name: it for name, it in answers.items() if name not in self.missing}

    def raise_if_incomplete(self, broker_error: str | None = None) -> None:
        """At the end of a command, after its output: raise if a service did not answer, or the broker did not."""
        lines = [f"{name} does not answer: {it}" for name, it in self.missing.items()]
        if lines:
            lines.append("the others are shown" if len(lines) < len(self.names) else "nothing can be shown")
        if broker_error:
            lines.append(f"the broker is away ({broker_error}): messages wait in the outboxes until it is back")
        if lines:
            raise CommandError("; ".join(lines))
