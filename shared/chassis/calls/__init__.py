"""How a service calls another one: which APIs there are, where their instances live, who calls, and the HTTP client.

Services declare the APIs that they call in `main.py`, and call operations with
`runtime.call(order_api.get_order, order_id=…)`. Calls go to the same layer or down, never up.
"""

from chassis.calls.auth import JWKS_CACHE_SECONDS, Token
from chassis.calls.operation import Api, Layer, Operation

__all__ = ["JWKS_CACHE_SECONDS", "Api", "Layer", "Operation", "Token"]
