"""The filters of a listener: tokens, rate limits, compression, the gateway's own answers, and the access log.

Names and fields are those of Envoy's API v3.
"""

import base64
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from chassis.calls.auth import SERVICE_ISSUER
from chassis.errors import (
    TYPES,
    BodyTooLarge,
    NotFound,
    Problem,
    RateLimited,
    RefusedByGateway,
    RequestTimedOut,
    TimedOut,
    Unauthenticated,
    Unavailable,
)
from gateway.exposed import ExposedOperation

Json = dict[str, Any]

# Issuers of tokens: the user service, or any service with the key that services share.
USER, SERVICE = "user", "service"
CALLER = "x-caller-id"  # subject of the verified token, for rate limits and the log; services read the token itself
MAX_BODY_BYTES = 1024 * 1024
JWKS_CACHE_SECONDS = 300

# The gateway's own answers. Every other status is `RefusedByGateway`.
REPLIES = [Unauthenticated, NotFound, RequestTimedOut, BodyTooLarge, RateLimited, Unavailable, TimedOut]
# The user service has not answered yet, so the gateway has no keys to verify the token with; the token may be valid.
NO_KEYS = "response.code_details.contains('Jwks_remote_fetch_is_failed')"


@dataclass(frozen=True)
class RateLimits:
    """Requests per second, with bursts of twice as many."""

    listener: int = 2_000
    caller: int = 100
    anonymous_writes: int = 50  # new accounts and tokens, each of which hashes a password


def extension(name: str, type: str, **fields: Any) -> Json:
    """An extension of Envoy, which finds it by its type; the name is only for readers."""
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/envoy.{type}", **fields}}


def http_filter(name: str, **fields: Any) -> Json:
    kind = "".join(word.capitalize() for word in name.split("_"))
    kind = {"JwtAuthn": "JwtAuthentication", "LocalRatelimit": "LocalRateLimit"}.get(kind, kind)
    return extension(name, f"extensions.filters.http.{name}.v3.{kind}", **fields)


def operation_match(operation: ExposedOperation, prefix: str = "") -> Json:
    method = {"name": ":method", "string_match": {"exact": operation.method}}
    return {"safe_regex": {"regex": prefix + operation.path}, "headers": [method]}


def jwt(rules: list[Json], service_key: str | None = None) -> Json:
    """Verifies tokens. The first matching rule decides; a request without a matching rule passes."""
    remote = {
        "http_uri": {"uri": f"http://{USER}/.well-known/jwks.json", "cluster": USER, "timeout": "2s"},
        "cache_duration": f"{JWKS_CACHE_SECONDS}s",
        "async_fetch": {"fast_listener": True, "failed_refetch_duration": "1s"},
    }
    providers = {USER: provider(issuer=USER, remote_jwks=remote)}
    if service_key is not None:
        key = base64.urlsafe_b64encode(service_key.encode()).rstrip(b"=").decode()
        keys = {"keys": [{"kty": "oct", "alg": "HS256", "k": key}]}
        providers[SERVICE] = provider(issuer=SERVICE_ISSUER, local_jwks={"inline_string": json.dumps(keys)})
    return http_filter("jwt_authn", providers=providers, rules=rules)


def provider(**where: Any) -> Json:
    caller = [{"header_name": CALLER, "claim_name": "sub"}]
    return {**where, "forward": True, "clock_skew_seconds": 5, "claim_to_headers": caller}


def local_ratelimit(limits: RateLimits, *, by_caller: bool) -> Json:
    """One bucket for the listener. By caller also one for each caller, and one for all writes without a token."""
    by_listener = {
        "stat_prefix": "rate",
        "token_bucket": bucket(limits.listener),
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
    }
    if not by_caller:
        return http_filter("local_ratelimit", **by_listener)
    caller = {"request_headers": {"header_name": CALLER, "descriptor_key": "caller"}}
    anonymous = {
        "descriptor_key": "anonymous",
        "descriptor_value": "writes",
        "headers": [
            {"name": ":method", "string_match": {"exact": "POST"}},
            {"name": CALLER, "present_match": True, "invert_match": True},
        ],
    }
    return http_filter(
        "local_ratelimit",
        **by_listener,
        rate_limits=[{"actions": [caller]}, {"actions": [{"header_value_match": anonymous}]}],
        descriptors=[
            {"entries": [{"key": "caller"}], "token_bucket": bucket(limits.caller)},
            {"entries": [{"key": "anonymous", "value": "writes"}], "token_bucket": bucket(limits.anonymous_writes)},
        ],
        max_dynamic_descriptors=10_000,
    )


def bucket(per_second: int) -> Json:
    """Filled ten times a second, so that a refused caller waits only a moment."""
    step = max(1, per_second // 10)
    return {"max_tokens": 2 * per_second, "tokens_per_fill": step, "fill_interval": f"{step / per_second:.3f}s"}


def compressors() -> list[Json]:
    """Brotli, or gzip for clients without brotli. Small answers are not compressed."""
    kinds = {
        "brotli": extension("brotli", "extensions.compression.brotli.compressor.v3.Brotli", quality=4),
        "gzip": extension(
            "gzip", "extensions.compression.gzip.compressor.v3.Gzip", compression_level="COMPRESSION_LEVEL_4"
        ),
    }
    return [
        http_filter(
            "compressor",
            compressor_library=library,
            response_direction_config={"common_config": {"min_content_length": 512}},
            choose_first=kind == "brotli",
        )
        for kind, library in kinds.items()
    ]


def local_reply() -> Json:
    """Problem details (RFC 9457) for every answer that the gateway gives itself."""
    mappers = [reply(cel(NO_KEYS), Unavailable)]
    for kind in REPLIES:
        comparison = {"op": "EQ", "value": {"default_value": kind.status, "runtime_key": f"reply.{kind.status}"}}
        mappers.append(reply({"status_code_filter": {"comparison": comparison}}, kind))
    return {"mappers": mappers, "body_format": body(RefusedByGateway, "%RESPONSE_CODE%", "Refused")}


def reply(when: Json, kind: type[Problem]) -> Json:
    again = [{"header": {"key": "retry-after", "value": "1"}}] if kind.status in (429, 503) else []
    format = body(kind, kind.status, HTTPStatus(kind.status).phrase)
    return {"filter": when, "status_code": kind.status, "headers_to_add": again, "body_format_override": format}


def body(kind: type[Problem], status: int | str, title: str) -> Json:
    fields = {"type": TYPES + kind.code, "title": title, "status": status, "code": kind.code, "detail": kind.detail}
    return {"content_type": "application/problem+json", "json_format": fields}


def cel(expression: str) -> Json:
    kind = "extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    return {"extension_filter": extension("cel", kind, expression=expression)}


def access_log(path: str) -> list[Json]:
    """One JSON line for each request. The path is logged without its query, which may contain personal data."""
    line = {
        "time": "%START_TIME%",
        "listener": "%FILTER_CHAIN_NAME%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ:ORIG)%",
        "status": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "duration_ms": "%DURATION%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
        "service": "%UPSTREAM_CLUSTER%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "caller": f"%REQ({CALLER})%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "trace_id": "%TRACE_ID%",
    }
    kind = "extensions.access_loggers.file.v3.FileAccessLog"
    return [extension("file", kind, path=path, log_format={"json_format": line})]
