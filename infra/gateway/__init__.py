"""The gateway: an Envoy configuration, generated from what the services declare."""

from gateway.envoy import Ports, build_config
from gateway.exposed import ExposedService, exposed_services
from gateway.filters import RateLimits

__all__ = ["ExposedService", "Ports", "RateLimits", "build_config", "exposed_services"]
