"""How the gateway treats traffic: limits, retries, time-outs, compression, access log, traces."""

import gzip
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from chassis.calls.auth import service_token
from gateway.filters import MAX_BODY_BYTES

from .conftest import SERVICE_KEY, RunningGateway, hang_up, is_problem, reply, user_token
from .waiting import wait_for


def test_every_request_has_an_id_of_our_own(edge: RunningGateway) -> None:
    with edge.public() as client:
        first, second = (client.get("/api/v1/products", headers={"x-request-id": "mine"}) for _ in range(2))
        refused = client.get("/api/v1/orders/42")
    assert edge.last("aggregator").headers["x-request-id"] == second.headers["x-request-id"]
    assert len({it.headers["x-request-id"] for it in (first, second, refused)} | {"mine"}) == 4


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_one_mebibyte_is_refused(edge: RunningGateway, chunked: bool) -> None:
    fits, too_large = b"x" * MAX_BODY_BYTES, b"x" * (MAX_BODY_BYTES + 1)
    before = len(edge.upstreams["aggregator"].seen)
    with edge.public(user_token("bulky")) as client:
        assert client.post("/api/v1/checkouts", content=fits).status_code == 200
        content = iter([too_large]) if chunked else too_large
        assert is_problem(client.post("/api/v1/checkouts", content=content), 413, "body_too_large")
    assert len(edge.upstreams["aggregator"].seen) == before + 1


def test_reads_are_tried_again(edge: RunningGateway) -> None:
    path = "/api/v1/products?flaky"
    edge.upstreams["aggregator"].answers[path] = [reply({}, 503), hang_up, reply({"third": "time"})]
    with edge.public() as client:
        assert client.get(path).json() == {"third": "time"}


def test_writes_that_may_have_arrived_are_not(edge: RunningGateway) -> None:
    path = "/api/v1/tokens?flaky"
    upstream = edge.upstreams["aggregator"]
    with edge.public() as client:
        for failure, status in ((reply({"code": "busy"}, 503), 503), (hang_up, 503)):
            upstream.answers[path] = [failure]
            before = len(upstream.seen)
            assert client.post(path, json={}).status_code == status
            assert len(upstream.seen) == before + 1


def test_a_write_waits_for_a_service_that_is_just_starting(edge: RunningGateway) -> None:
    upstream = edge.upstreams["product"]
    upstream.stop()
    try:
        threading.Timer(0.15, upstream.start).start()
        with edge.internal(service_token("order", SERVICE_KEY)) as client:
            assert client.put("/product/stock/1", json={}).status_code == 200
    finally:
        wait_for(lambda: upstream.server)


def test_an_unreachable_or_slow_service_has_an_error_of_its_own(edge: RunningGateway) -> None:
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


def test_a_refusal_of_a_service_passes_unchanged(edge: RunningGateway) -> None:
    own = {"code": "order_not_found", "status": 404, "detail": "There is no such order."}
    edge.upstreams["aggregator"].answers["/api/v1/orders/7"] = [reply(own, 404)]
    with edge.public(user_token()) as client:
        assert client.get("/api/v1/orders/7").json() == own


def send_many(send: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """Many requests at once, so that some exceed the limit on every machine, however slow."""
    with ThreadPoolExecutor(20) as threads:
        return list(threads.map(lambda _: send(), range(200)))


def test_callers_are_limited_one_by_one(edge: RunningGateway) -> None:
    with edge.public(user_token("hasty")) as hasty, edge.public(user_token("calm")) as calm:
        answers = send_many(lambda: hasty.get("/api/v1/orders/42"))
        assert calm.get("/api/v1/orders/42").status_code == 200
    refused = next(answer for answer in answers if answer.status_code != 200)
    assert answers[0].status_code == 200
    assert is_problem(refused, 429, "rate_limited")
    assert refused.headers["retry-after"] == "1"


def test_writes_without_a_token_are_limited_together(edge: RunningGateway) -> None:
    with edge.public() as client:
        answers = send_many(lambda: client.post("/api/v1/tokens", json={}))
        assert client.get("/api/v1/products").status_code == 200
    assert answers[0].status_code == 200
    assert is_problem(next(answer for answer in answers if answer.status_code != 200), 429, "rate_limited")


@pytest.mark.parametrize(("accepted", "encoding"), [("gzip", "gzip"), ("gzip, br", "br"), ("identity", None)])
def test_json_is_compressed_as_the_client_accepts(edge: RunningGateway, accepted: str, encoding: str | None) -> None:
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


def test_each_request_leaves_a_line_without_its_query(edge: RunningGateway) -> None:
    with edge.public(user_token("logged")) as client:
        response = client.get("/api/v1/orders/99?q=secret")
    id = response.headers["x-request-id"]
    line = wait_for(lambda: next((it for it in edge.log.read_text().splitlines() if id in it), None))
    entry = json.loads(line)
    assert "secret" not in line
    assert (entry["listener"], entry["path"], entry["status"]) == ("public", "/api/v1/orders/99", 200)
    assert (entry["caller"], entry["service"]) == ("logged", "aggregator")


def test_a_sampled_trace_goes_through_the_gateway(edge: RunningGateway) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with edge.public() as client:
        client.get("/api/v1/products", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    _, passed_on, parent, flags = edge.last("aggregator").headers["traceparent"].split("-")
    assert (passed_on, flags) == (trace, "01")
    assert parent != "b7ad6b7169203331"
    wait_for(lambda: any(bytes.fromhex(trace) in it.body for it in edge.telemetry.seen))
