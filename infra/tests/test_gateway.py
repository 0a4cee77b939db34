"""The gateway as clients and services see it: a real Envoy between real connections."""

import contextlib
import gzip
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
from chassis.auth import service_token
from gateway.filters import MAX_BODY_BYTES
from local.envoy import Envoy
from local.server import free_port

SERVICE_KEY = "a key that only the services of this test know"
USER_KEY = OKPKey.generate_key("Ed25519", {"kid": "one", "alg": "EdDSA", "use": "sig"})
BEARER: list[dict[str, list[str]]] = [{"bearer": []}]
PARTS = [
    gateway.Part.of(
        "aggregator",
        {
            "paths": {
                "/api/v1/products": {"get": {}},
                "/api/v1/tokens": {"post": {}},
                "/api/v1/orders/{order_id}": {"get": {"security": BEARER}},
                "/api/v1/checkouts": {"post": {"security": BEARER}},
            }
        },
    ),
    gateway.Part.of("user", {"paths": {"/tokens": {"post": {}}, "/.well-known/jwks.json": {"get": {}}}}),
    gateway.Part.of("shipping", {"paths": {}}, hooks="/hooks"),
    gateway.Part.of("product", {"paths": {"/products": {"get": {"security": BEARER}}}}),
]


@dataclass
class Seen:
    """A request as a service received it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Upstream:
    """A small service on a port of its own: remembers what it got and answers what it was told to, or an echo."""

    port: int = field(default_factory=free_port)
    seen: list[Seen] = field(default_factory=list)
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

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                upstream.connections.append(self.connection)

            def answer(self) -> None:
                body = self.read_body()
                headers = {name.lower(): value for name, value in self.headers.items()}
                upstream.seen.append(Seen(self.command, self.path, headers, body))
                told = upstream.answers[self.path]
                (told.pop(0) if told else reply({"path": self.path, "service": upstream.port}))(self)

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
                """Tests read `seen`."""

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
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
class Edge:
    """The running gateway and what stands behind it."""

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

    def last(self, service: str) -> Seen:
        return self.upstreams[service].seen[-1]


def new_ports() -> gateway.Ports:
    return gateway.Ports(free_port(), free_port(), free_port(), free_port())


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("gateway")
    edge = Edge(new_ports(), folder / "access.log", {part.name: Upstream() for part in PARTS}, Upstream())
    keys = {"keys": [USER_KEY.as_dict(private=False)]}
    edge.upstreams["user"].answers["/.well-known/jwks.json"] = [reply(keys)] * 100
    for upstream in [*edge.upstreams.values(), edge.telemetry]:
        upstream.start()
    text = gateway.config(
        edge.ports,
        {name: upstream.url for name, upstream in edge.upstreams.items()},
        parts=PARTS,
        service_key=SERVICE_KEY,
        access_log=str(edge.log),
        otlp_endpoint=edge.telemetry.url,
        trace_ratio=0.0,
        timeout_seconds=3,
        limits=gateway.Limits(caller=20, anonymous_writes=10),
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
    assert (response.status_code, response.json()["status"], response.json()["code"]) == (status, status, code)
    return True


def test_public_serves_the_experience_api_and_nothing_else(edge: Edge) -> None:
    with edge.public() as client:
        assert client.get("/api/v1/products?q=tea").json()["path"] == "/api/v1/products?q=tea"
        for path in ("/", "/metrics", "/internal/parked", "/product/products", "/api/v1/../../metrics"):
            assert is_problem(client.get(path), 404, "not_found")


def test_internal_strips_the_service_name(edge: Edge) -> None:
    with edge.internal(user_token()) as client:
        answer = client.get("/product/products?ids=1").json()
        assert answer == {"path": "/products?ids=1", "service": edge.upstreams["product"].port}
        assert client.get("/aggregator/api/v1/products").json()["service"] == edge.upstreams["aggregator"].port
        assert is_problem(client.get("/unheard/of"), 404, "not_found")


BAD_TOKENS = {
    "garbage": "garbage",
    "expired": user_token(exp=int(time.time()) - 60),
    "of another issuer": user_token(iss="mallory"),
    "of another key": jwt.encode(
        {"alg": "EdDSA", "kid": "one"},
        {"iss": "user", "sub": "ada", "exp": int(time.time()) + 60},
        OKPKey.generate_key("Ed25519"),
        algorithms=["EdDSA"],
    ),
    "unsigned": "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ1c2VyIiwic3ViIjoiYWRhIn0.",
    "of a service": service_token("order", SERVICE_KEY),
}


@pytest.mark.parametrize("token", [None, *BAD_TOKENS.values()], ids=["none", *BAD_TOKENS])
def test_what_the_api_declares_secured_needs_a_good_token(edge: Edge, token: str | None) -> None:
    before = len(edge.upstreams["aggregator"].seen)
    with edge.public(token) as client:
        for path in ("/api/v1/orders/42", "/api/v1/orders/42?open=1", "/api/v1//orders/./42"):
            assert is_problem(client.get(path), 401, "unauthenticated")
        assert is_problem(client.post("/api/v1/checkouts", json={}), 401, "unauthenticated")
    assert len(edge.upstreams["aggregator"].seen) == before


def test_a_good_token_goes_on_to_the_service(edge: Edge) -> None:
    token = user_token("grace")
    with edge.public(token) as client:
        assert client.get("/api/v1/orders/42").status_code == 200
    assert edge.last("aggregator").headers["authorization"] == f"Bearer {token}"
    assert edge.last("aggregator").headers["x-caller-id"] == "grace"


@pytest.mark.parametrize("path", ["/api/v1/products", "/api/v1/orders/42"])
def test_nobody_can_say_who_they_are_or_how_envoy_shall_behave(edge: Edge, path: str) -> None:
    spoofed = {"x-caller-id": "root", "x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-max-retries": "9"}
    with edge.public(user_token("grace")) as client:
        client.get(path, headers=spoofed)
    received = edge.last("aggregator").headers
    assert received.get("x-caller-id", "grace") == "grace"
    assert not {"x-envoy-upstream-rq-timeout-ms", "x-envoy-max-retries"} & received.keys()
    assert received["x-envoy-expected-rq-timeout-ms"] == "3000"


def test_internal_needs_a_token_unless_the_service_declares_otherwise(edge: Edge) -> None:
    with edge.internal() as client:
        for path in ("/product/products", "/product/internal/parked", "/product/metrics", "/nobody"):
            assert is_problem(client.get(path), 401, "unauthenticated")
        assert client.get("/product/readyz").status_code == 200
        assert client.get("/user/.well-known/jwks.json").json()["keys"][0]["kid"] == "one"
        assert client.post("/user/tokens", json={}).status_code == 200


def test_internal_takes_the_tokens_of_services(edge: Edge) -> None:
    with edge.internal(service_token("order", SERVICE_KEY)) as client:
        assert client.get("/product/internal/parked").status_code == 200
    with edge.internal(service_token("order", "another key that nobody has ever agreed on")) as client:
        assert is_problem(client.get("/product/internal/parked"), 401, "unauthenticated")


def test_hooks_reach_the_services_that_have_some_byte_for_byte(edge: Edge) -> None:
    body = b'{"type":  "shipment.delivered",\r\n "odd": "\\u00e9"}\x00\xff'
    with edge.client(edge.ports.hooks) as client:
        sent = client.post("/shipping/hooks/carrier", content=body, headers={"webhook-signature": "v1,abc="})
        assert sent.status_code == 200
        for path in ("/shipping/shipments", "/product/hooks/carrier", "/shipping/hooks/../readyz"):
            assert is_problem(client.post(path, content=body), 404, "not_found")
    received = edge.last("shipping")
    assert (received.path, received.body) == ("/hooks/carrier", body)
    assert received.headers["webhook-signature"] == "v1,abc="


def test_every_request_has_an_id_of_our_own(edge: Edge) -> None:
    with edge.public() as client:
        first, second = (client.get("/api/v1/products", headers={"x-request-id": "mine"}) for _ in range(2))
        refused = client.get("/api/v1/orders/42")
    assert edge.last("aggregator").headers["x-request-id"] == second.headers["x-request-id"]
    assert len({it.headers["x-request-id"] for it in (first, second, refused)} | {"mine"}) == 4


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_one_mebibyte_is_refused(edge: Edge, chunked: bool) -> None:
    fits, too_large = b"x" * MAX_BODY_BYTES, b"x" * (MAX_BODY_BYTES + 1)
    before = len(edge.upstreams["aggregator"].seen)
    with edge.public(user_token("bulky")) as client:
        assert client.post("/api/v1/checkouts", content=fits).status_code == 200
        content = iter([too_large]) if chunked else too_large
        assert is_problem(client.post("/api/v1/checkouts", content=content), 413, "body_too_large")
    assert len(edge.upstreams["aggregator"].seen) == before + 1


def test_reads_are_tried_again(edge: Edge) -> None:
    path = "/api/v1/products?flaky"
    edge.upstreams["aggregator"].answers[path] = [reply({}, 503), hang_up, reply({"third": "time"})]
    with edge.public() as client:
        assert client.get(path).json() == {"third": "time"}


def test_writes_that_may_have_arrived_are_not(edge: Edge) -> None:
    path = "/api/v1/tokens?flaky"
    upstream = edge.upstreams["aggregator"]
    with edge.public() as client:
        for failure, status in ((reply({"code": "busy"}, 503), 503), (hang_up, 503)):
            upstream.answers[path] = [failure]
            before = len(upstream.seen)
            assert client.post(path, json={}).status_code == status
            assert len(upstream.seen) == before + 1


def test_a_write_waits_for_a_service_that_is_just_starting(edge: Edge) -> None:
    upstream = edge.upstreams["product"]
    upstream.stop()
    try:
        threading.Timer(0.15, upstream.start).start()
        with edge.internal(service_token("order", SERVICE_KEY)) as client:
            assert client.put("/product/stock/1", json={}).status_code == 200
    finally:
        while upstream.server is None:
            time.sleep(0.01)


def test_a_service_that_is_away_or_slow_is_told_plainly(edge: Edge) -> None:
    edge.upstreams["aggregator"].answers["/api/v1/products?slow"] = [reply({}, after_seconds=3.2)]
    with edge.public() as client:
        assert is_problem(client.get("/api/v1/products?slow"), 504, "timed_out")
    upstream = edge.upstreams["product"]
    upstream.stop()
    try:
        with edge.internal(service_token("order", SERVICE_KEY)) as client:
            away = client.put("/product/stock/1", json={})
            assert is_problem(away, 503, "unavailable")
            assert away.headers["retry-after"] == "1"
    finally:
        upstream.start()


def test_a_refusal_of_a_service_passes_unchanged(edge: Edge) -> None:
    own = {"code": "order_not_found", "status": 404, "detail": "There is no such order."}
    edge.upstreams["aggregator"].answers["/api/v1/orders/7"] = [reply(own, 404)]
    with edge.public(user_token()) as client:
        assert client.get("/api/v1/orders/7").json() == own


def test_callers_are_limited_one_by_one(edge: Edge) -> None:
    with edge.public(user_token("hasty")) as hasty, edge.public(user_token("calm")) as calm:
        answers = [hasty.get("/api/v1/orders/42") for _ in range(60)]
        assert answers[0].status_code == 200
        assert is_problem(answers[-1], 429, "rate_limited")
        assert answers[-1].headers["retry-after"] == "1"
        assert calm.get("/api/v1/orders/42").status_code == 200


def test_writes_without_a_token_are_limited_together(edge: Edge) -> None:
    with edge.public() as client:
        answers = [client.post("/api/v1/tokens", json={}) for _ in range(40)]
        assert answers[0].status_code == 200
        assert is_problem(answers[-1], 429, "rate_limited")
        assert client.get("/api/v1/products").status_code == 200


@pytest.mark.parametrize(("accepted", "encoding"), [("gzip", "gzip"), ("gzip, br", "br"), ("identity", None)])
def test_json_is_compressed_as_the_client_likes(edge: Edge, accepted: str, encoding: str | None) -> None:
    items = [{"name": "tea"}] * 500
    edge.upstreams["aggregator"].answers["/api/v1/products?big"] = [reply(items)]
    with (
        edge.public() as client,
        client.stream("GET", "/api/v1/products?big", headers={"accept-encoding": accepted}) as it,
    ):
        raw = b"".join(it.iter_raw())
    assert it.headers.get("content-encoding") == encoding
    if encoding == "gzip":
        assert json.loads(gzip.decompress(raw)) == items
    assert (len(raw) < 500) == (encoding is not None)


def test_each_request_leaves_a_line_without_its_query(edge: Edge) -> None:
    with edge.public(user_token("logged")) as client:
        response = client.get("/api/v1/orders/99?q=secret")
    id = response.headers["x-request-id"]
    line = wait_for(lambda: next((it for it in edge.log.read_text().splitlines() if id in it), None))
    entry = json.loads(line)
    assert "secret" not in line
    assert (entry["listener"], entry["path"], entry["status"]) == ("public", "/api/v1/orders/99", 200)
    assert (entry["caller"], entry["service"]) == ("logged", "aggregator")


def test_a_sampled_trace_goes_through_the_gateway(edge: Edge) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with edge.public() as client:
        client.get("/api/v1/products", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    _, passed_on, parent, flags = edge.last("aggregator").headers["traceparent"].split("-")
    assert (passed_on, flags) == (trace, "01")
    assert parent != "b7ad6b7169203331"
    wait_for(lambda: any(bytes.fromhex(trace) in it.body for it in edge.telemetry.seen))


def test_the_admin_port_does_not_show_the_key(edge: Edge) -> None:
    with edge.client(edge.ports.admin) as client:
        assert client.get("/ready").status_code == 200
        assert client.get("/config_dump").status_code == 403
        assert client.post("/quitquitquit").status_code == 403


def test_tokens_are_taken_as_soon_as_the_user_service_is_there(tmp_path: Path) -> None:
    """Until then a token is not called bad: it cannot be checked."""
    user, aggregator, ports = Upstream(), Upstream(), new_ports()
    user.answers["/.well-known/jwks.json"] = [reply({"keys": [USER_KEY.as_dict(private=False)]})] * 100
    aggregator.start()
    text = gateway.config(ports, {"user": user.url, "aggregator": aggregator.url}, parts=PARTS, access_log="/dev/null")
    url = f"http://127.0.0.1:{ports.public}/api/v1/orders/1"
    headers = {"authorization": f"Bearer {user_token()}"}
    try:
        with Envoy(tmp_path, ports.admin, config=text):
            assert is_problem(httpx.get(url, headers=headers), 503, "unavailable")
            assert is_problem(httpx.get(url), 401, "unauthenticated")
            user.start()
            wait_for(lambda: httpx.get(url, headers=headers).status_code == 200)
    finally:
        user.stop()
        aggregator.stop()


def wait_for(found: Callable[[], Any], seconds: float = 10) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return result
