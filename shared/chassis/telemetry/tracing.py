"""OpenTelemetry by hand: few spans, sampled at the start of a trace, and W3C trace context through everything."""

import concurrent.futures.thread  # noqa: F401  # before OpenTelemetry: after a fork its hook uses what this one's repairs
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_propagator = TraceContextTextMapPropagator()
_providers: dict[str, TracerProvider] = {}
_tracers: dict[str, Tracer] = {}


def configure(service: str, endpoint: str, ratio: float) -> None:
    """Sample `ratio` of the traces that start here, and export them over OTLP/HTTP when there is an endpoint."""
    provider = TracerProvider(
        resource=Resource({"service.name": service}),
        sampler=ParentBased(TraceIdRatioBased(ratio if endpoint else 0)),
        shutdown_on_exit=False,
    )
    if endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # 10 MB, seldom needed

        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1_000))
    _providers[service], _tracers[service] = provider, provider.get_tracer("chassis")


def flush(service: str) -> None:
    """Export the spans that are left; called when a service stops."""
    if service in _providers:
        del _tracers[service]
        _providers.pop(service).shutdown()


def context_of(traceparent: str | None) -> SpanContext | None:
    if traceparent is None:
        return None
    context = trace.get_current_span(_propagator.extract({"traceparent": traceparent})).get_span_context()
    return context if context.is_valid else None


def traceparent() -> str | None:
    """The running span as a W3C header, or None outside of any."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & TraceFlags.SAMPLED:02x}"


def trace_id() -> str | None:
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


@contextmanager
def span(
    service: str,
    name: str,
    kind: SpanKind,
    parent: str | None = None,
    links: Sequence[str | None] = (),
    attributes: Mapping[str, str] | None = None,
) -> Iterator[Span]:
    """A span of this service below `parent` (a traceparent), or else below the running span.

    Below a parent that is not sampled no span is made; the parent itself is the context of further calls.
    """
    above = context_of(parent) or trace.get_current_span().get_span_context()
    tracer = _tracers.get(service)
    if tracer is None or (above.is_valid and not above.trace_flags & TraceFlags.SAMPLED):
        with trace.use_span(NonRecordingSpan(above)) as unsampled:
            yield unsampled
        return
    context = trace.set_span_in_context(NonRecordingSpan(above)) if above.is_valid else None
    linked = [Link(other) for link in links if (other := context_of(link)) is not None]
    with tracer.start_as_current_span(name, context, kind, attributes, linked) as started:
        yield started
