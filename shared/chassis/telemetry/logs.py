"""Structured logs: one JSON line for each fact, with the service and the trace id."""

import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

import structlog

from chassis.telemetry import tracing

service_name: ContextVar[str] = ContextVar("service_name", default="-")


def _add_context(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["service"] = service_name.get()
    if (trace_id := tracing.trace_id()) is not None:
        event["trace_id"] = trace_id
    return event


def configure(level: str, format: str) -> None:
    """Send structlog's and the standard library's records to stdout in one shape."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _add_context,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if format == "json"
        else [structlog.dev.ConsoleRenderer()]
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("aiokafka", "httpx", "uvicorn", "alembic"):
        logging.getLogger(noisy).setLevel("CRITICAL" if noisy == "aiokafka" else "WARNING")
