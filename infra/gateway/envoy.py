"""The API gateway: Envoy's bootstrap configuration, with three listeners, and a cluster for each service.

public    the experience API, `/api/v1/…` of the aggregator
internal  every service under `/<service>/…`, for tokens of staff, operators and services
hooks     `/<service>/hooks/…` of services that declare webhooks, and verify the raw body themselves
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

import yaml

from gateway import filters
from gateway.exposed import ExposedOperation, ExposedService, exposed_services
from gateway.filters import Json, RateLimits, extension, http_filter, operation_match

EXPERIENCE, PUBLIC_PREFIX = "aggregator", "/api/v1/"
ERROR_PAGE = "/docs/errors"  # where the `type` of a problem leads
PUBLIC_DOCS = ("/docs/public", "/docs/assets/", ERROR_PAGE)
TELEMETRY = "telemetry"
STREAMS, MAX_STREAMS = "_streams", 5_000
KEEP_ALIVE_SECONDS = 3  # less than uvicorn's 5: a POST on a connection that uvicorn is closing would fail


@dataclass(frozen=True)
class Ports:
    """The ports on which Envoy listens, on one address."""

    public: int
    internal: int
    hooks: int
    admin: int


class PrefixRoute(NamedTuple):
    """A path prefix at the gateway, the service behind it, and the prefix that the service sees instead."""

    service: str
    prefix: str
    rewritten: str


def build_config(
    ports: Ports,
    upstreams: dict[str, str],
    *,
    services: Sequence[ExposedService] | None = None,
    service_key: str | None = None,
    access_log: str = "/dev/stdout",
    otlp_endpoint: str = "",
    trace_ratio: float = 0.1,
    timeout_seconds: float = 10,
    limits: RateLimits = RateLimits(),  # noqa: B008  # frozen
    address: str = "127.0.0.1",
) -> str:
    """The bootstrap configuration as YAML. It contains `service_key`, so only Envoy's user may read the file.

    `upstreams` has the base URLs of each service, comma-separated; a service without URLs is left out.
    `services` are what the services declare, by default all installed ones.
    """
    reachable = [it for it in (exposed_services() if services is None else services) if it.name in upstreams]
    experience = [service for service in reachable if service.name == EXPERIENCE]
    limit_body = http_filter("buffer", max_request_bytes=filters.MAX_BODY_BYTES)
    common = [filters.local_ratelimit(limits, by_caller=True), limit_body, *filters.compressors()]
    chains = {
        "public": [filters.jwt(public_rules(experience)), *common],
        "internal": [filters.jwt(internal_rules(reachable, service_key), service_key), *common],
        "hooks": [filters.local_ratelimit(limits, by_caller=False), limit_body],
    }
    observability: Json = {"access_log": filters.access_log(access_log)}
    clusters = [cluster(it.name, upstreams[it.name]) for it in reachable]
    clusters += [cluster(it.name + STREAMS, upstreams[it.name], MAX_STREAMS) for it in experience if it.streams]
    if otlp_endpoint:
        observability["tracing"] = {"provider": tracer(otlp_endpoint, trace_ratio), "random_sampling": {"value": 100}}
        clusters.append(cluster(TELEMETRY, otlp_endpoint))
    routes_of = {name: routes(prefix_routes(name, reachable), timeout_seconds) for name in chains}
    routes_of["public"] = [*stream_routes(experience), *routes_of["public"]]
    addresses = {name: socket_address(address, getattr(ports, name)) for name in chains}
    listeners = [listener(name, addresses[name], routes_of[name], it, observability) for name, it in chains.items()]
    document = bootstrap(socket_address(address, ports.admin), listeners, clusters)
    return str(yaml.safe_dump(document, sort_keys=False, width=120))


def bootstrap(admin: Json, listeners: list[Json], clusters: list[Json]) -> Json:
    # No /config_dump, which would show the key, and no /quitquitquit.
    allowed = [{"exact": "/ready"}, {"prefix": "/stats"}, {"prefix": "/clusters"}]
    monitor = "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    limit = extension(
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


def prefix_routes(listener: str, services: Sequence[ExposedService]) -> list[PrefixRoute]:
    """The services behind a listener."""
    if listener == "public":
        prefixes = (PUBLIC_PREFIX, *PUBLIC_DOCS)
        return [PrefixRoute(it.name, prefix, prefix) for it in services if it.name == EXPERIENCE for prefix in prefixes]
    if listener == "hooks":
        return [PrefixRoute(it.name, f"/{it.name}{it.hooks}/", f"{it.hooks}/") for it in services if it.hooks]
    errors = [PrefixRoute(it.name, ERROR_PAGE, ERROR_PAGE) for it in services if it.name == EXPERIENCE]
    return [*errors, *(PrefixRoute(it.name, f"/{it.name}/", "/") for it in services)]


def public_rules(experience: Sequence[ExposedService]) -> list[Json]:
    """The operations that need a token, as the experience API declares them."""
    needs = {"provider_name": filters.USER}
    return [{"match": operation_match(it), "requires": needs} for service in experience for it in service.secured]


def internal_rules(services: Sequence[ExposedService], service_key: str | None) -> list[Json]:
    """Lists the operations without a token; all others need a token, issued by the user service or by a service."""
    always = [ExposedOperation("GET", path) for path in ("/livez", "/readyz", "/docs(/.*)?")]
    free = [
        {"match": operation_match(it, f"/{service.name}")} for service in services for it in [*service.open, *always]
    ]
    free.append({"match": operation_match(ExposedOperation("GET", ERROR_PAGE))})
    by_user, by_service = {"provider_name": filters.USER}, {"provider_name": filters.SERVICE}
    either = {"requires_any": {"requirements": [by_user, by_service]}} if service_key else by_user
    return [*free, {"match": {"prefix": "/"}, "requires": either}]


def routes(prefixes: Sequence[PrefixRoute], timeout_seconds: float) -> list[Json]:
    """A read is retried when the service fails to answer or answers 503, a write only when it surely never arrived."""
    policy: Json = {"num_retries": 4, "retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}}
    write_policy = {**policy, "retry_on": "connect-failure,refused-stream"}
    safe = "connect-failure,refused-stream,reset,retriable-status-codes"
    read_policy = {**policy, "retry_on": safe, "retriable_status_codes": [503]}
    reads = [{"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}]
    found: list[Json] = []
    for service, prefix, rewritten in prefixes:
        action: Json = {"cluster": service, "prefix_rewrite": rewritten, "timeout": f"{timeout_seconds}s"}
        found += [
            {"match": {"prefix": prefix, "headers": reads}, "route": {**action, "retry_policy": read_policy}},
            {"match": {"prefix": prefix}, "route": {**action, "retry_policy": write_policy}},
        ]
    return found


def stream_routes(experience: Sequence[ExposedService]) -> list[Json]:
    """Event streams have no time limit. Each holds a connection, so they have a cluster, with limits, of their own."""
    return [
        {"match": operation_match(it), "route": {"cluster": service.name + STREAMS, "timeout": "0s"}}
        for service in experience
        for it in service.streams
    ]


def listener(name: str, address: Json, routes: list[Json], chain: list[Json], observability: Json) -> Json:
    mutation = "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    # No address counts as internal, so Envoy drops the x-envoy-… and x-request-id headers of every client.
    no_address = [{"address_prefix": "0.0.0.0", "prefix_len": 32}]
    manager: Json = {
        "stat_prefix": name,
        "server_name": "gateway",
        "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}]},
        "http_filters": [*chain, http_filter("router")],
        "local_reply_config": filters.local_reply(),
        "use_remote_address": True,
        "internal_address_config": {"cidr_ranges": no_address},
        "early_header_mutation_extensions": [extension("spoofed", mutation, mutations=[{"remove": filters.CALLER}])],
        "always_set_request_id_in_response": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {"idle_timeout": "300s", "headers_with_underscores_action": "REJECT_REQUEST"},
        "request_headers_timeout": "5s",
        "request_timeout": "30s",
        **observability,
    }
    kind = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return {
        "name": name,
        "address": address,
        "per_connection_buffer_limit_bytes": filters.MAX_BODY_BYTES,
        "filter_chains": [{"name": name, "filters": [extension("http", kind, **manager)]}],
    }


def tracer(otlp_endpoint: str, trace_ratio: float) -> Json:
    """Spans over OTLP/HTTP: of a share of the requests, and of every request whose caller samples its trace."""
    uri = {"uri": otlp_endpoint.rstrip("/") + "/v1/traces", "cluster": TELEMETRY, "timeout": "1s"}
    share = {"numerator": round(1_000_000 * trace_ratio), "denominator": "MILLION"}
    samplers = "extensions.tracers.opentelemetry.samplers.v3."
    by_ratio = extension("ratio", samplers + "TraceIdRatioBasedSamplerConfig", sampling_percentage=share)
    sampler = extension("parent", samplers + "ParentBasedSamplerConfig", wrapped_sampler=by_ratio)
    exporter = {"http_service": {"http_uri": uri}, "service_name": "gateway", "sampler": sampler}
    return extension("otlp", "config.trace.v3.OpenTelemetryConfig", **exporter)


def cluster(name: str, urls: str, connections: int = 256) -> Json:
    """All instances of a service. An instance that keeps failing is ejected for a moment, unless it is the only one."""
    targets = [urlsplit(url.strip()) for url in urls.split(",")]
    endpoints = [
        {"endpoint": {"address": socket_address(str(target.hostname), target.port or 80)}} for target in targets
    ]
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
        "typed_extension_protocol_options": {f"envoy.{kind}": extension("", kind, **protocol)["typed_config"]},
        "outlier_detection": {"consecutive_5xx": 5, "base_ejection_time": "2s", "max_ejection_percent": 50},
        "circuit_breakers": {"thresholds": [threshold]},
    }


def is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def socket_address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}
