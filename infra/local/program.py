"""Our own programs as child processes: a service in all its roles, or all services in one process."""

import json
import os
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import ClassVar

from local.server import LocalServer


@dataclass
class Program(LocalServer):
    command: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict, repr=False)
    other_ports: list[int] = field(default_factory=list)  # of a process that serves on several ports

    start_seconds: ClassVar[float] = 120

    def prepare(self) -> None:
        pass

    def argv(self) -> list[str]:
        return self.command

    def environment(self) -> dict[str, str]:
        return os.environ | self.variables

    def ready(self) -> bool:
        return all(self._answers(port) for port in (self.port, *self.other_ports))

    def _answers(self, port: int) -> bool:
        connection = HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            self.waiting_for = "" if answer.status == 200 else _waiting_for(answer.read())
            return answer.status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


def _waiting_for(body: bytes) -> str:
    try:
        waiting = json.loads(body)["waiting_for"]
    except (ValueError, KeyError, TypeError):
        return ""
    return ", ".join(f"{what}: {why}" for what, why in waiting.items())
