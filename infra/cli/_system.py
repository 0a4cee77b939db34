"""The running system, as commands talk to it."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from chassis.auth import service_token
from chassis.service import installed_names
from local import state
from local.errors import CommandError


def running_system() -> state.RunningSystem:
    found = state.running()
    if found is None:
        raise CommandError(f"nothing runs in {state.folder().parent}: start it first")
    return found


class GatewayClient:
    """One listener of the gateway. Whatever it refuses or cannot reach is CommandError, in its own words."""

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
            raise CommandError(f"{method} {path} gets no answer ({error!r}): is everything ready?") from error
        return body


def internal() -> GatewayClient:
    """The internal listener, with the rights of a service."""
    running = running_system()
    return GatewayClient(running.urls["internal"], service_token("cli", running.service_key))


def public(token: str | None = None) -> GatewayClient:
    """The public listener, with the rights of whoever owns the token."""
    return GatewayClient(f"{running_system().urls['public']}/api/v1", token)


def known(service: str) -> str:
    """The name of a service, if there is one of this name."""
    if service not in installed_names():
        raise CommandError(f"there is no service {service}: {', '.join(installed_names())}")
    return service


class ServiceGroup:
    """A question to several services at once. Those that do not answer are remembered, with what was said of them."""

    def __init__(self, name: str | None = None) -> None:
        """One service, or all that there are."""
        self.names = [known(name)] if name else installed_names()
        self.missing: dict[str, str] = {}
        self._gateway = internal()

    def ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The answers by service, to the same request for what is at `path` below `/internal` there.

        Those that did not answer before are not asked again: each may take as long as the gateway would wait.
        """
        return self.ask_each(method, path, {name: request for name in self.names if name not in self.missing})

    def ask_each(self, method: str, path: str, requests: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """As `ask`, with a request for each service that is asked."""

        def answer(name: str) -> Any:
            try:
                return self._gateway.call(method, f"/{name}/internal/{path}", **requests[name])
            except CommandError as trouble:
                return trouble

        with ThreadPoolExecutor(len(requests) or 1) as threads:
            answers = dict(zip(requests, threads.map(answer, requests), strict=True))
        for name, it in answers.items():
            self.missing.pop(name, None)
            if isinstance(it, CommandError):
                self.missing[name] = str(it)
        return {name: it for name, it in answers.items() if name not in self.missing}

    def complain(self, broker: str | None = None) -> None:
        """At the end of a command, after what it has found out: end with what was missing, and with the broker's."""
        words = [f"{name} does not answer: {it}" for name, it in self.missing.items()]
        if words:
            words.append("the others are shown" if len(words) < len(self.names) else "nothing can be shown")
        if broker:
            words.append(f"the broker is away ({broker}): what waits in an outbox leaves when it is back")
        if words:
            raise CommandError("; ".join(words))
