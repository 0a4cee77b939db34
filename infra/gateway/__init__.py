"""The gateway: an Envoy configuration made from what the services declare."""

from gateway.envoy import Ports, config
from gateway.exposed import ExposedService, declared
from gateway.filters import RateLimits

__all__ = ["ExposedService", "Ports", "RateLimits", "config", "declared"]
