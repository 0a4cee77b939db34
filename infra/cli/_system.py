"""The running system, as commands talk to it."""

from typing import Any

import httpx

from chassis.auth import service_token
from local import state
from local.trouble import Trouble


def running_system() -> state.Running:
    found = state.running()
    if found is None:
        raise Trouble(f"nothing runs in {state.folder().parent}: start it first")
    return found


class Gateway:
    """One listener of the gateway. Whatever it refuses or cannot reach is Trouble, in its own words."""

    def __init__(self, url: str, token: str | None = None) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=15)

    def call(self, method: str, path: str, **request: Any) -> Any:
        try:
            answer = self._http.request(method, path, **request)
            body: Any = answer.json() if answer.content else None
            if answer.is_error:
                raise Trouble(f"{body['detail']} ({method} {path})")
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise Trouble(f"{method} {path} gets no answer ({error!r}): is everything ready?") from error
        return body


def internal() -> Gateway:
    """The internal listener, with the rights of a service."""
    running = running_system()
    return Gateway(running.urls["internal"], service_token("cli", running.service_key))


def public(token: str | None = None) -> Gateway:
    """The public listener, with the rights of whoever owns the token."""
    return Gateway(f"{running_system().urls['public']}/api/v1", token)
