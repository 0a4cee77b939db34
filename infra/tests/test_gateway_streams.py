"""Event streams through the gateway: each event at once, and without a time limit."""

import threading
from http.server import BaseHTTPRequestHandler

import yaml

import gateway

from .conftest import EXPOSED, RunningGateway, is_problem, new_ports, user_token

PATH = "/api/v1/orders/42/stream"
PAUSE_SECONDS = 3.5  # the time limit of other requests is three seconds here


def test_each_event_arrives_before_the_next_is_sent_and_none_too_late(edge: RunningGateway) -> None:
    arrived = threading.Event()

    def stream(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("connection", "close")
        handler.end_headers()
        handler.wfile.write(b"id: 1\n\n")
        if arrived.wait(10):
            handler.wfile.write(b"id: 2\n\n")
        threading.Event().wait(PAUSE_SECONDS)
        handler.wfile.write(b"id: 3\n\n")
        handler.close_connection = True

    edge.upstreams["aggregator"].answers[PATH] = [stream]
    with (
        edge.public(user_token("reader")) as client,
        client.stream("GET", PATH, headers={"accept-encoding": "gzip, br"}, timeout=10) as response,
    ):
        lines = response.iter_lines()
        assert next(lines) == "id: 1"
        arrived.set()
        assert [line for line in lines if line] == ["id: 2", "id: 3"]
    assert "content-encoding" not in response.headers


def test_a_stream_needs_a_token_and_goes_on_with_the_last_id(edge: RunningGateway) -> None:
    with edge.public() as client:
        assert is_problem(client.get(PATH), 401, "unauthenticated")
    with edge.public(user_token("reader")) as client:
        client.get(PATH, headers={"last-event-id": "7"})
    assert edge.last("aggregator").headers["last-event-id"] == "7"


def test_streams_have_connections_of_their_own() -> None:
    """Each stream holds a connection for as long as its client reads."""
    config = yaml.safe_load(gateway.build_config(new_ports(), {"aggregator": "http://127.0.0.1:1"}, services=EXPOSED))
    limits = {
        cluster["name"]: cluster["circuit_breakers"]["thresholds"][0]["max_connections"]
        for cluster in config["static_resources"]["clusters"]
    }
    assert limits == {"aggregator": 256, "aggregator_streams": 5_000}
