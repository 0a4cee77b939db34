"""The gateway: an Envoy configuration made from what the services declare."""

from gateway.envoy import Ports, config
from gateway.exposed import Part, declared
from gateway.filters import Limits

__all__ = ["Limits", "Part", "Ports", "config", "declared"]
