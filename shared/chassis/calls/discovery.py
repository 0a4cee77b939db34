"""Service discovery: the addresses of the live instances of a service."""

import os
from typing import Protocol


class NotDiscovered(Exception):
    """No instance is known under the name."""


class Discovery(Protocol):
    """A name resolves to the base URLs of its live instances."""

    async def resolve(self, name: str) -> list[str]: ...


class StaticDiscovery:
    """From the environment: `PRODUCT_URL=http://127.0.0.1:8101,http://127.0.0.1:8102`."""

    async def resolve(self, name: str) -> list[str]:
        variable = f"{name.upper()}_URL"
        urls = [url.strip().rstrip("/") for url in os.environ.get(variable, "").split(",") if url.strip()]
        if not urls:
            raise NotDiscovered(f"{variable} is not set")
        return urls


class DnsDiscovery:
    """The name is a host name (compose, Kubernetes); the platform balances behind it."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(self, name: str) -> list[str]:
        return [f"http://{name}:{self._port}"]
