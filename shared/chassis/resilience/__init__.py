"""Living with failures: waiting with backoff and jitter, the circuit breaker, the retry budget, and debouncing.

Every wing above may use this one, and so may services that call the outside world. Nothing here knows a database, a
broker or HTTP.
"""

from chassis.resilience.backoff import Backoff, retry_delay_seconds, run_until, wait_for_any
from chassis.resilience.circuit_breaker import CallRejected, CircuitBreaker
from chassis.resilience.debouncer import Debouncer

__all__ = [
    "Backoff",
    "CallRejected",
    "CircuitBreaker",
    "Debouncer",
    "retry_delay_seconds",
    "run_until",
    "wait_for_any",
]
