"""Fixtures: a real Envoy with a generated configuration in front of small HTTP servers, and the simulators."""

import contextlib
import json
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey

import gateway
from chassis.errors import TYPES
from chassis.process.ports import reserve_port
from local.envoy import Envoy
from simulators.server import Simulators

from .simulator_client import WebhookReceiver, receiving_webhooks

SERVICE_KEY = "a key that only the services of this test know"
USER_KEY = OKPKey.generate_key("Ed25519", {"kid": "one", "alg": "EdDSA", "use": "sig"})
BEARER: list[dict[str, list[str]]] = [{"bearer": []}]
STREAM: dict[str, Any] = {"200": {"content": {"text/event-stream": {}}}}
EXPOSED = [
    gateway.ExposedService.from_openapi(
        "aggregator",
        {
            "paths": {
                "/api/v1/products": {"get": {}},
                "/api/v1/tokens": {"post": {}},
                "/api/v1/orders/{order_id}": {"get": {"security": BEARER}},
                "/api/v1/orders/{order_id}/stream": {"get": {"security": BEARER, "responses": STREAM}},
                "/api/v1/checkouts": {"post": {"security": BEARER}},
            }
        },
    ),
    gateway.ExposedService.from_openapi(
        "user", {"paths": {"/tokens": {"post": {}}, "/.well-known/jwks.json": {"get": {}}}}
    ),
    gateway.ExposedService.from_openapi("shipping", {"paths": {}}, hooks="/hooks"),
    gateway.ExposedService.from_openapi("product", {"paths": {"/products": {"get": {"security": BEARER}}}}),
]


@dataclass
class ReceivedRequest:
    """A request as a service received it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Upstream:
    """A small HTTP server: remembers its requests, and gives the answers set for a path, or an echo."""

    port: int = field(default_factory=reserve_port)
    seen: list[ReceivedRequest] = field(default_factory=list)
    answers: dict[str, list[Callable[[BaseHTTPRequestHandler], None]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    server: ThreadingHTTPServer | None = None
    connections: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        upstream = self

        class UpstreamHandler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                upstream.connections.append(self.connection)

            def answer(self) -> None:
                body = self.read_body()
                headers = {name.lower(): value for name, value in self.headers.items()}
                upstream.seen.append(ReceivedRequest(self.command, self.path, headers, body))
                answers = upstream.answers[self.path]
                (answers.pop(0) if answers else reply({"path": self.path, "service": upstream.port}))(self)

            def read_body(self) -> bytes:
                if self.headers.get("transfer-encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length", 0)))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size + 2)[:-2]
                self.rfile.readline()
                return body

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                """Log nothing: tests read `seen`."""

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), UpstreamHandler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
            while self.connections:
                with contextlib.suppress(OSError):  # closed by the other side
                    self.connections.pop().shutdown(socket.SHUT_RDWR)


def reply(content: Any, status: int = 200, after_seconds: float = 0) -> Callable[[BaseHTTPRequestHandler], None]:
    def write(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(after_seconds)
        body = json.dumps(content).encode()
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return write


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


@dataclass
class RunningGateway:
    """The running gateway, and the servers behind it."""

    ports: gateway.Ports
    log: Path
    upstreams: dict[str, Upstream]
    telemetry: Upstream

    def client(self, port: int, token: str | None = None) -> httpx.Client:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers)

    def public(self, token: str | None = None) -> httpx.Client:
        return self.client(self.ports.public, token)

    def internal(self, token: str | None = None) -> httpx.Client:
        return self.client(self.ports.internal, token)

    def last(self, service: str) -> ReceivedRequest:
        return self.upstreams[service].seen[-1]


def new_ports() -> gateway.Ports:
    return gateway.Ports(reserve_port(), reserve_port(), reserve_port(), reserve_port())


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    folder = tmp_path_factory.mktemp("gateway")
    edge = RunningGateway(
        new_ports(), folder / "access.log", {service.name: Upstream() for service in EXPOSED}, Upstream()
    )
    keys = {"keys": [USER_KEY.as_dict(private=False)]}
    edge.upstreams["user"].answers["/.well-known/jwks.json"] = [reply(keys)] * 100
    for upstream in [*edge.upstreams.values(), edge.telemetry]:
        upstream.start()
    text = gateway.build_config(
        edge.ports,
        {name: upstream.url for name, upstream in edge.upstreams.items()},
        services=EXPOSED,
        service_key=SERVICE_KEY,
        access_log=str(edge.log),
        otlp_endpoint=edge.telemetry.url,
        trace_ratio=0.0,
        timeout_seconds=3,
        limits=gateway.RateLimits(caller=20, anonymous_writes=10),
    )
    with Envoy(folder, edge.ports.admin, config=text):
        yield edge
    for upstream in [*edge.upstreams.values(), edge.telemetry]:
        upstream.stop()


def user_token(subject: str = "ada", **claims: Any) -> str:
    claims = {"iss": "user", "sub": subject, "exp": int(time.time()) + 60, **claims}
    return jwt.encode({"alg": "EdDSA", "kid": "one"}, claims, USER_KEY, algorithms=["EdDSA"])


def is_problem(response: httpx.Response, status: int, code: str) -> bool:
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json().items() >= {"type": TYPES + code, "status": status, "code": code}.items()
    assert response.status_code == status
    return True


@pytest.fixture(scope="module")
def simulators() -> Iterator[Simulators]:
    with Simulators.temporary() as server:
        yield server


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with receiving_webhooks() as server:
        yield server
