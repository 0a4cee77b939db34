"""JSON lines with service and trace id, one a fact; repeated trouble is said once."""

import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

import structlog

from chassis.telemetry import tracing

service_name: ContextVar[str] = ContextVar("service_name", default="-")


def _where(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
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
        _where,
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


class Trouble:
    """Says that something is away once, and once that it is back."""

    def __init__(self, what: str, logger: logging.Logger, reason: str | None = None) -> None:
        self.reason = reason  # one that is there from the start is no news, nor is its end
        self._what, self._logger, self._said = what, logger, False

    def begins(self, error: BaseException) -> None:
        if not self._said:
            self._logger.warning("%s is away; waiting for it", self._what, extra={"error": repr(error)})
        self.reason, self._said = repr(error), True

    def ends(self) -> None:
        if self._said:
            self._logger.warning("%s is back", self._what)
        self.reason, self._said = None, False
