"""A receiver of traces: what the services export over OTLP/HTTP, kept in memory."""

import asyncio
import gzip
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """`with Collector() as collector`: give `collector.url` to the services as OTEL_EXPORTER_OTLP_ENDPOINT."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = self.headers["content-length"]
                body = self.rfile.read(int(length)) if length else self._chunks()
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    collector.spans += [span for scope in resource.scope_spans for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def _chunks(self) -> bytes:
                """Envoy sends its spans in chunks."""
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                return body

            def log_message(self, *_: object) -> None:
                """Tests need no access log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    async def trace_with(self, key: str, names: set[str], seconds: float = 15) -> dict[bytes, set[str]]:
        """The traces in which messages of this key were handled, once all of these spans have arrived."""
        until = time.monotonic() + seconds
        while True:
            traces: dict[bytes, set[str]] = defaultdict(set)
            for span in list(self.spans):
                if any(it.key == "messaging.message.key" and it.value.string_value == key for it in span.attributes):
                    traces[span.trace_id].add(span.name)
            missing = names - {name for found in traces.values() for name in found}
            if not missing:
                return traces
            assert time.monotonic() < until, f"no span came for {missing}"
            await asyncio.sleep(0.2)
