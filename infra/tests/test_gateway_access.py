"""Which requests the gateway passes on: listeners, tokens, webhooks."""

import time
from pathlib import Path

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey

import gateway
from chassis.calls.auth import service_token
from local.envoy import Envoy

from .conftest import (
    EXPOSED,
    SERVICE_KEY,
    USER_KEY,
    RunningGateway,
    Upstream,
    is_problem,
    new_ports,
    reply,
    user_token,
)
from .waiting import wait_for


def test_public_serves_the_experience_api_and_nothing_else(edge: RunningGateway) -> None:
    with edge.public() as client:
        assert client.get("/api/v1/products?q=tea").json()["path"] == "/api/v1/products?q=tea"
        for path in ("/", "/metrics", "/internal/dead-letters", "/product/products", "/api/v1/../../metrics"):
            assert is_problem(client.get(path), 404, "not_found")


def test_internal_strips_the_service_name(edge: RunningGateway) -> None:
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
def test_what_the_api_declares_secured_needs_a_good_token(edge: RunningGateway, token: str | None) -> None:
    before = len(edge.upstreams["aggregator"].seen)
    with edge.public(token) as client:
        for path in ("/api/v1/orders/42", "/api/v1/orders/42?open=1", "/api/v1//orders/./42"):
            assert is_problem(client.get(path), 401, "unauthenticated")
        assert is_problem(client.post("/api/v1/checkouts", json={}), 401, "unauthenticated")
    assert len(edge.upstreams["aggregator"].seen) == before


def test_a_good_token_goes_on_to_the_service(edge: RunningGateway) -> None:
    token = user_token("grace")
    with edge.public(token) as client:
        assert client.get("/api/v1/orders/42").status_code == 200
    assert edge.last("aggregator").headers["authorization"] == f"Bearer {token}"
    assert edge.last("aggregator").headers["x-caller-id"] == "grace"


@pytest.mark.parametrize("path", ["/api/v1/products", "/api/v1/orders/42"])
def test_clients_cannot_set_their_caller_id_or_control_envoy(edge: RunningGateway, path: str) -> None:
    spoofed = {"x-caller-id": "root", "x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-max-retries": "9"}
    with edge.public(user_token("grace")) as client:
        client.get(path, headers=spoofed)
    received = edge.last("aggregator").headers
    assert received.get("x-caller-id", "grace") == "grace"
    assert not {"x-envoy-upstream-rq-timeout-ms", "x-envoy-max-retries"} & received.keys()
    assert received["x-envoy-expected-rq-timeout-ms"] == "3000"


def test_internal_needs_a_token_unless_the_service_declares_otherwise(edge: RunningGateway) -> None:
    with edge.internal() as client:
        for path in ("/product/products", "/product/internal/dead-letters", "/product/metrics", "/nobody"):
            assert is_problem(client.get(path), 401, "unauthenticated")
        assert client.get("/product/readyz").status_code == 200
        assert client.get("/user/.well-known/jwks.json").json()["keys"][0]["kid"] == "one"
        assert client.post("/user/tokens", json={}).status_code == 200


def test_internal_accepts_the_tokens_of_services(edge: RunningGateway) -> None:
    with edge.internal(service_token("order", SERVICE_KEY)) as client:
        assert client.get("/product/internal/dead-letters").status_code == 200
    with edge.internal(service_token("order", "another key, which no service has ever known")) as client:
        assert is_problem(client.get("/product/internal/dead-letters"), 401, "unauthenticated")


def test_webhooks_reach_the_services_that_declare_them_byte_for_byte(edge: RunningGateway) -> None:
    body = b'{"type":  "shipment.delivered",\r\n "odd": "\\u00e9"}\x00\xff'
    with edge.client(edge.ports.hooks) as client:
        headers = {"webhook-signature": "v1,abc=", "x-caller-id": "root"}
        sent = client.post("/shipping/hooks/carrier", content=body, headers=headers)
        assert sent.status_code == 200
        for path in ("/shipping/shipments", "/product/hooks/carrier", "/shipping/hooks/../readyz"):
            assert is_problem(client.post(path, content=body), 404, "not_found")
    received = edge.last("shipping")
    assert (received.path, received.body) == ("/hooks/carrier", body)
    assert received.headers["webhook-signature"] == "v1,abc="
    assert "x-caller-id" not in received.headers


def test_the_admin_port_does_not_show_the_key(edge: RunningGateway) -> None:
    with edge.client(edge.ports.admin) as client:
        assert client.get("/ready").status_code == 200
        assert client.get("/config_dump").status_code == 403
        assert client.post("/quitquitquit").status_code == 403


def test_tokens_are_accepted_as_soon_as_the_user_service_runs(tmp_path: Path) -> None:
    """Until then a token is not refused as invalid: the gateway cannot verify it."""
    user, aggregator, ports = Upstream(), Upstream(), new_ports()
    user.answers["/.well-known/jwks.json"] = [reply({"keys": [USER_KEY.as_dict(private=False)]})] * 100
    aggregator.start()
    text = gateway.build_config(
        ports, {"user": user.url, "aggregator": aggregator.url}, services=EXPOSED, access_log="/dev/null"
    )
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


def test_envoy_accepts_the_configuration_for_the_installed_services(tmp_path: Path) -> None:
    services, ports = gateway.exposed_services(), new_ports()
    upstreams = {
        service.name: f"http://127.0.0.1:{number},http://{service.name}:80"
        for number, service in enumerate(services, 9000)
    }
    Envoy(tmp_path, ports.admin, config=gateway.build_config(ports, upstreams, service_key=SERVICE_KEY)).prepare()
    experience = next(service for service in services if service.name == "aggregator")
    needs_token = {(it.method, it.path) for it in experience.secured}
    assert {("POST", "/api/v1/checkouts"), ("GET", "/api/v1/orders/[^/]+"), ("GET", "/api/v1/cart")} <= needs_token
    assert ("GET", "/api/v1/products") not in needs_token
    assert [(it.method, it.path) for it in experience.streams] == [("GET", "/api/v1/orders/[^/]+/stream")]
    assert [service.name for service in services if service.hooks] == ["payment", "shipping"]
