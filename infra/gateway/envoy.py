"""The bootstrap of Envoy: three listeners and a cluster per service.

public    the experience API, `/api/v1/…` of the aggregator
internal  every service under `/<service>/…`, for staff, operators and the services' own tokens
hooks     `/<service>/hooks/…` of those that declare hooks; they verify the raw body themselves
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

import yaml

from gateway import filters
from gateway.exposed import ExposedService, Operation, declared
from gateway.filters import Json, RateLimits, http_filter, operation_match, typed

EXPERIENCE, PUBLIC_PREFIX = "aggregator", "/api/v1/"
TELEMETRY = "telemetry"
STREAMS, MOST_STREAMS = "_streams", 5_000
KEEP_ALIVE_SECONDS = 3  # below uvicorn's 5: a POST on a connection that is just being closed would fail


@dataclass(frozen=True)
class Ports:
    """Where Envoy listens, on one address."""

    public: int
    internal: int
    hooks: int
    admin: int


class PrefixRoute(NamedTuple):
    """What stands under a prefix, and what the service itself calls it."""

    service: str
    prefix: str
    rewritten: str


def config(
    ports: Ports,
    upstreams: dict[str, str],
    *,
    parts: Sequence[ExposedService] | None = None,
    service_key: str | None = None,
    access_log: str = "/dev/stdout",
    otlp_endpoint: str = "",
    trace_ratio: float = 0.1,
    timeout_seconds: float = 10,
    limits: RateLimits = RateLimits(),  # noqa: B008  # frozen
    address: str = "127.0.0.1",
) -> str:
    """The bootstrap as YAML. It holds `service_key`: keep the file to yourself.

    `upstreams` gives the base URLs of each service, comma-separated; a service without one is left out.
    `parts` are the services as they declare themselves, by default all that are installed.
    """
    known = [part for part in (declared() if parts is None else parts) if part.name in upstreams]
    shop = [part for part in known if part.name == EXPERIENCE]
    limit_body = http_filter("buffer", max_request_bytes=filters.MAX_BODY_BYTES)
    guards = [filters.local_ratelimit(limits, by_caller=True), limit_body, *filters.compressors()]
    chains = {
        "public": [filters.jwt(public_rules(shop)), *guards],
        "internal": [filters.jwt(internal_rules(known, service_key), service_key), *guards],
        "hooks": [filters.local_ratelimit(limits, by_caller=False), limit_body],
    }
    observed: Json = {"access_log": filters.access_log(access_log)}
    clusters = [cluster(part.name, upstreams[part.name]) for part in known]
    clusters += [cluster(it.name + STREAMS, upstreams[it.name], MOST_STREAMS) for it in shop if it.streams]
    if otlp_endpoint:
        observed["tracing"] = {"provider": tracer(otlp_endpoint, trace_ratio), "random_sampling": {"value": 100}}
        clusters.append(cluster(TELEMETRY, otlp_endpoint))
    routed = {name: routes(places(name, known), timeout_seconds) for name in chains}
    routed["public"] = [*stream_routes(shop), *routed["public"]]
    listeners = [
        listener(name, at(address, getattr(ports, name)), routed[name], chain, observed)
        for name, chain in chains.items()
    ]
    return str(yaml.safe_dump(bootstrap(at(address, ports.admin), listeners, clusters), sort_keys=False, width=120))


def bootstrap(admin: Json, listeners: list[Json], clusters: list[Json]) -> Json:
    # No /config_dump, which would show the key, and no /quitquitquit.
    allowed = [{"exact": "/ready"}, {"prefix": "/stats"}, {"prefix": "/clusters"}]
    monitor = "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    limit = typed(
        "envoy.resource_monitors.global_downstream_max_connections",
        f"extensions.{monitor}",
        max_active_downstream_connections=10_000,
    )
    runtime = {"tracing.opentelemetry.flush_interval_ms": 1_000}
    return {
        "admin": {"address": admin, "allow_paths": allowed},
        "static_resources": {"listeners": listeners, "clusters": clusters},
        "overload_manager": {"resource_monitors": [limit]},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": runtime}]},
    }


def places(listener: str, parts: Sequence[ExposedService]) -> list[PrefixRoute]:
    """What is reached through a listener."""
    if listener == "public":
        return [PrefixRoute(it.name, PUBLIC_PREFIX, PUBLIC_PREFIX) for it in parts if it.name == EXPERIENCE]
    if listener == "hooks":
        return [PrefixRoute(it.name, f"/{it.name}{it.hooks}/", f"{it.hooks}/") for it in parts if it.hooks]
    return [PrefixRoute(it.name, f"/{it.name}/", "/") for it in parts]


def public_rules(shop: Sequence[ExposedService]) -> list[Json]:
    """Operations that need a token, as the experience API declares them."""
    needs = {"provider_name": filters.USER}
    return [{"match": operation_match(it), "requires": needs} for part in shop for it in part.secured]


def internal_rules(parts: Sequence[ExposedService], service_key: str | None) -> list[Json]:
    """What needs no token is listed; everything else needs one, from the user service or of a service."""
    health = [Operation("GET", "/livez"), Operation("GET", "/readyz")]
    free = [{"match": operation_match(it, f"/{part.name}")} for part in parts for it in [*part.open, *health]]
    by_user, by_service = {"provider_name": filters.USER}, {"provider_name": filters.SERVICE}
    either = {"requires_any": {"requirements": [by_user, by_service]}} if service_key else by_user
    return [*free, {"match": {"prefix": "/"}, "requires": either}]


def routes(places: Sequence[PrefixRoute], timeout_seconds: float) -> list[Json]:
    """Reads are tried again when the service is away or says so; all else only when it has surely not been seen."""
    policy: Json = {"num_retries": 4, "retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}}
    unseen = {**policy, "retry_on": "connect-failure,refused-stream"}
    safe = "connect-failure,refused-stream,reset,retriable-status-codes"
    reading = {**policy, "retry_on": safe, "retriable_status_codes": [503]}
    reads = [{"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}]
    found: list[Json] = []
    for service, prefix, rewritten in places:
        action: Json = {"cluster": service, "prefix_rewrite": rewritten, "timeout": f"{timeout_seconds}s"}
        found += [
            {"match": {"prefix": prefix, "headers": reads}, "route": {**action, "retry_policy": reading}},
            {"match": {"prefix": prefix}, "route": {**action, "retry_policy": unseen}},
        ]
    return found


def stream_routes(shop: Sequence[ExposedService]) -> list[Json]:
    """Streams of events pass as long as they last. Each holds a connection, so they have a cluster of their own."""
    return [
        {"match": operation_match(it), "route": {"cluster": part.name + STREAMS, "timeout": "0s"}}
        for part in shop
        for it in part.streams
    ]


def listener(name: str, address: Json, routes: list[Json], chain: list[Json], observed: Json) -> Json:
    mutation = "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    # Nobody is trusted for being near, so that x-envoy-… and x-request-id of clients are dropped.
    nobody = [{"address_prefix": "0.0.0.0", "prefix_len": 32}]
    manager: Json = {
        "stat_prefix": name,
        "server_name": "gateway",
        "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}]},
        "http_filters": [*chain, http_filter("router")],
        "local_reply_config": filters.local_reply(),
        "use_remote_address": True,
        "internal_address_config": {"cidr_ranges": nobody},
        "early_header_mutation_extensions": [typed("spoofed", mutation, mutations=[{"remove": filters.CALLER}])],
        "always_set_request_id_in_response": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {"idle_timeout": "300s", "headers_with_underscores_action": "REJECT_REQUEST"},
        "request_headers_timeout": "5s",
        "request_timeout": "30s",
        **observed,
    }
    kind = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return {
        "name": name,
        "address": address,
        "per_connection_buffer_limit_bytes": filters.MAX_BODY_BYTES,
        "filter_chains": [{"name": name, "filters": [typed("http", kind, **manager)]}],
    }


def tracer(otlp_endpoint: str, trace_ratio: float) -> Json:
    """Spans over OTLP/HTTP: of a share of the requests, and of those whose caller samples."""
    uri = {"uri": otlp_endpoint.rstrip("/") + "/v1/traces", "cluster": TELEMETRY, "timeout": "1s"}
    share = {"numerator": round(1_000_000 * trace_ratio), "denominator": "MILLION"}
    samplers = "extensions.tracers.opentelemetry.samplers.v3."
    by_ratio = typed("ratio", samplers + "TraceIdRatioBasedSamplerConfig", sampling_percentage=share)
    sampler = typed("parent", samplers + "ParentBasedSamplerConfig", wrapped_sampler=by_ratio)
    exporter = {"http_service": {"http_uri": uri}, "service_name": "gateway", "sampler": sampler}
    return typed("otlp", "config.trace.v3.OpenTelemetryConfig", **exporter)


def cluster(name: str, urls: str, connections: int = 256) -> Json:
    """All instances of a service. One that keeps failing rests for a moment, unless it is the only one."""
    targets = [urlsplit(url.strip()) for url in urls.split(",")]
    endpoints = [{"endpoint": {"address": at(str(target.hostname), target.port or 80)}} for target in targets]
    kind = "extensions.upstreams.http.v3.HttpProtocolOptions"
    protocol = {
        "common_http_protocol_options": {"idle_timeout": f"{KEEP_ALIVE_SECONDS}s"},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    threshold = {
        "max_connections": connections,
        "max_pending_requests": 512,
        "max_requests": 2 * connections,
        "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 10},
    }
    return {
        "name": name,
        "type": "STATIC" if all(is_ip(str(target.hostname)) for target in targets) else "STRICT_DNS",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "typed_extension_protocol_options": {f"envoy.{kind}": typed("", kind, **protocol)["typed_config"]},
        "outlier_detection": {"consecutive_5xx": 5, "base_ejection_time": "2s", "max_ejection_percent": 50},
        "circuit_breakers": {"thresholds": [threshold]},
    }


def is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def at(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}
