"""Living with failures: waiting with backoff and jitter, the circuit breaker, the retry budget, and debouncing.

Every wing above may use this one, and so may services that call the outside world. Nothing here knows a database, a
broker or HTTP.
"""

from chassis.resilience.backoff import Backoff, run_until, wait_for_any
from chassis.resilience.circuit_breaker import CallRejected, CircuitBreaker

__all__ = ["Backoff", "CallRejected", "CircuitBreaker", "run_until", "wait_for_any"]
