"""Who serves what: the APIs of the system by name and layer, and where their instances live."""

import os
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol


class Layer(IntEnum):
    """Calls and commands go down, events go up."""

    SYSTEM = 1
    PROCESS = 2
    EXPERIENCE = 3


@dataclass(frozen=True)
class Api:
    """A service as others know it. The right to call it is the right to import its contract."""

    name: str
    layer: Layer


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
