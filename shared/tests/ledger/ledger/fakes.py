"""Services that a service under test calls, as small HTTP servers whose answers the test decides."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import uvicorn
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey

from chassis.database import new_id
from chassis.process.instance import UvicornServer
from chassis.testing import ISSUER_KEY, SERVICE_KEY

KEYS_PATH = "/.well-known/jwks.json"
PUBLISHED_KEYS = (200, KeySet([ISSUER_KEY]).as_dict(private=False))


@dataclass
class ReceivedRequest:
    """A request as a fake service received it."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    query: dict[str, str] = field(default_factory=dict)


Reply = tuple[int, Any]  # the status, and what becomes the JSON body
Answer = Reply | Callable[[ReceivedRequest], Awaitable[Reply]]


def problem(status: int, code: str) -> dict[str, Any]:
    return {"type": "about:blank", "title": "No", "status": status, "code": code, "detail": "No."}


class FakeService:
    """Answers requests by method and path, others with 404, and keeps what it received."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))  # now: a free port may be taken until it is served
        self.answers: dict[tuple[str, str], Answer] = {}
        self.requests: list[ReceivedRequest] = []
        self.open = asyncio.Event()  # no answer leaves while it is cleared
        self.open.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    async def answer(self, request: ReceivedRequest) -> Reply:
        answer = self.answers.get((request.method, request.path), (404, problem(404, "not_found")))
        return answer if isinstance(answer, tuple) else await answer(request)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI application."""
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode()))
        request = ReceivedRequest(scope["method"], scope["path"], headers, json.loads(body) if body else None, query)
        if request.path != KEYS_PATH:
            self.requests.append(request)
        await self.open.wait()
        status, content = await self.answer(request)
        kind = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": kind})
        await send({"type": "http.response.body", "body": b"" if content is None else json.dumps(content).encode()})


class FakeUserService(FakeService):
    """The user service: keys of access tokens for everyone; contacts, addresses and reset secrets for services."""

    def __init__(self, caller: str) -> None:
        super().__init__()
        self.caller = caller
        self.unavailable = False
        self.answers["GET", KEYS_PATH] = PUBLISHED_KEYS

    def add_contact(self, email: str | None = None, name: str = "Ada Lovelace") -> UUID:
        """A new account; its mail address is its id at example.org, unless another one is given."""
        id = new_id()
        self.answers["GET", f"/accounts/{id}/contact"] = (200, {"email": email or f"{id}@example.org", "name": name})
        return id

    def add_address(self, country: str = "DE", postcode: str = "10115") -> UUID:
        id = new_id()
        address = {"name": "Ada Lovelace", "street": "St James's Square 12", "postcode": postcode, "city": "London"}
        self.answers["GET", f"/addresses/{id}"] = (200, {"id": str(id), **address, "country": country})
        return id

    async def answer(self, request: ReceivedRequest) -> Reply:
        kinds = {"contact": "account", "secret": "password_reset", "addresses": "address"}
        kind = next((kinds[part] for part in request.path.split("/") if part in kinds), None)
        if kind is None:
            return await super().answer(request)
        if self.unavailable:
            return 503, {}
        token = jwt.decode(request.headers["authorization"].removeprefix("Bearer "), OctKey.import_key(SERVICE_KEY))
        assert (token.claims["sub"], token.claims["roles"]) == (self.caller, ["service"])
        status, content = await super().answer(request)
        return (status, content) if status == 200 else (status, problem(status, f"{kind}_not_found"))


@asynccontextmanager
async def serving(*services: FakeService) -> AsyncIterator[None]:
    """Within the block the fake services answer."""
    stop = asyncio.Event()
    servers = [UvicornServer(uvicorn.Config(it, log_config=None, lifespan="off"), stop) for it in services]
    async with asyncio.TaskGroup() as group:
        for server, it in zip(servers, services, strict=True):
            group.create_task(server.serve(sockets=[it.socket]))
        while not all(server.started for server in servers):  # noqa: ASYNC110  # uvicorn offers no event
            await asyncio.sleep(0.01)
        yield
        for server in servers:
            server.force_exit = True
        stop.set()
