"""Traces: one runs through HTTP, outbox, consumer and calls; logs carry its id."""

import gzip
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.trace import SpanKind

from chassis.telemetry import logs, tracing
from chassis.testing import Launch
from ledger.main import service
from ledger.messages import Book
from ledger.waiting import until

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01"
NOT_SAMPLED = f"00-{TRACE}-b7ad6b7169203331-00"
ORDERLY = ["POST /accounts/a/commands", "process ledger.book.v1", "call print_statement", "process ledger.printed.v1"]


class Receiver(ThreadingHTTPServer):
    """Takes what is exported over OTLP/HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        super().__init__(("127.0.0.1", 0), Taking)

    def traces(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for span in sorted(self.spans, key=lambda span: span.start_time_unix_nano):
            found.setdefault(span.trace_id.hex(), []).append(span)
        return found

    async def until(self, name: str, count: int = 1) -> None:
        await until(lambda: [span.name for span in self.spans].count(name) >= count)


class Taking(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silent."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(("ratio", "headers"), [(1, {}), (0, {"traceparent": SAMPLED})])
async def test_one_trace_runs_from_the_request_to_the_last_message(
    launch: Launch, receiver: Receiver, ratio: float, headers: dict[str, str]
) -> None:
    endpoint = f"http://127.0.0.1:{receiver.server_port}"
    ledger = await launch(service, otel_exporter_otlp_endpoint=endpoint, trace_ratio=ratio)
    async with ledger.client() as client:
        await client.post("/accounts/a/commands", headers=headers)
    await receiver.until(ORDERLY[-1])
    (trace,) = (spans for spans in receiver.traces().values() if spans[0].name == ORDERLY[0])
    assert [span.name for span in trace] == ORDERLY
    ids = {span.span_id for span in trace}
    assert all(span.parent_span_id in ids for span in trace[1:])
    assert not headers or trace[0].trace_id.hex() == TRACE


@pytest.mark.parametrize(("ratio", "headers"), [(0, {}), (1, {"traceparent": NOT_SAMPLED})])
async def test_what_is_not_sampled_leaves_no_span_anywhere(
    launch: Launch, receiver: Receiver, ratio: float, headers: dict[str, str]
) -> None:
    endpoint = f"http://127.0.0.1:{receiver.server_port}"
    ledger = await launch(service, otel_exporter_otlp_endpoint=endpoint, trace_ratio=ratio)
    async with ledger.client() as client:
        await client.post("/accounts/a/commands", headers=headers)
        await ledger.settled()
        await client.get("/livez", headers={"traceparent": f"00-{'b' * 32}-{'c' * 16}-01"})
    await receiver.until("GET /livez")  # so the others would have come
    assert not {span.name for span in receiver.spans} & set(ORDERLY)


async def test_messages_of_one_batch_keep_their_traces_and_are_linked(launch: Launch, receiver: Receiver) -> None:
    ledger = await launch(service, otel_exporter_otlp_endpoint=f"http://127.0.0.1:{receiver.server_port}")
    parents = [f"00-{letter * 32}-{'c' * 16}-01" for letter in "ab"]
    await ledger.send(*(replace(ledger.envelope(Book(account=it, number=1)), traceparent=it) for it in parents))
    await receiver.until("process ledger.book.v1", 2)
    first, second = (receiver.traces()[letter * 32] for letter in "ab")
    assert [link.trace_id.hex() for link in second[0].links] == ["a" * 32]
    assert not first[0].links


def test_logs_carry_service_and_trace(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    try:
        logs.configure("INFO", "json")
        logs.service_name.set("ledger")
        with tracing.span("ledger", "x", SpanKind.INTERNAL, SAMPLED):
            logging.getLogger("x").warning("said %s", "once", extra={"key": "a"})
    finally:
        root.handlers = handlers
        root.setLevel(level)
    line = json.loads(capsys.readouterr().out)
    assert (line["event"], line["level"], line["service"], line["key"]) == ("said once", "warning", "ledger", "a")
    assert line["trace_id"] == TRACE
