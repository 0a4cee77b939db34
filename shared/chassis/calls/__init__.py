"""How a service calls another one: which APIs there are, where their instances live, who calls, and the HTTP client.

Services declare the APIs that they call in `main.py` and get a client from `runtime.client(api)`. Calls go to the same
layer or down, never up.
"""

from chassis.calls.auth import JWKS_CACHE_SECONDS, Token
from chassis.calls.discovery import Api, Layer

__all__ = ["JWKS_CACHE_SECONDS", "Api", "Layer", "Token"]
