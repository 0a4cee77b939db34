"""The simulators as one of the local system's servers, for the supervisor and for tests."""

import os
import sys
from dataclasses import dataclass, field

from local.server import LocalServer, send_and_receive


@dataclass
class Simulators(LocalServer):
    name: str = "simulators"
    settings: dict[str, str] = field(default_factory=dict)  # environment variables: see `SimulatorSettings`

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def argv(self) -> list[str]:
        return [sys.executable, "-m", "simulators"]

    def environment(self) -> dict[str, str]:
        state = str(self.folder / "simulators.sqlite")
        return {**os.environ, "SIMULATORS_PORT": str(self.port), "SIMULATORS_STATE": state, **self.settings}

    def ready(self) -> bool:
        return send_and_receive(self.port, b"GET /settings HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"
