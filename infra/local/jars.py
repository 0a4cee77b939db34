"""Jars by their lock: fetched once into a cache that all checkouts of a user share, believed only by their sha256."""

import fcntl
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from platformdirs import user_cache_path

from local import NAME
from local.errors import CommandError

CACHE = user_cache_path(NAME)
_REPOSITORY = CACHE / "jars"


@dataclass(frozen=True)
class Jar:
    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def path(self) -> Path:
        folder = _REPOSITORY.joinpath(*self.group.split("."), self.artifact, self.version)
        return folder / f"{self.artifact}-{self.version}.jar"

    def is_here(self) -> bool:
        return self.path.exists() and hashlib.sha256(self.path.read_bytes()).hexdigest() == self.sha256


def locked_jars(lock: Path) -> list[Jar]:
    """The lines of a lock, `group:artifact:version sha256=… size=…`, in the order of the class path."""
    return [_jar(*line.split()) for line in lock.read_text().splitlines()]


def _jar(coordinate: str, sha256: str, *_: str) -> Jar:
    group, artifact, version = coordinate.split(":")
    return Jar(group, artifact, version, sha256.removeprefix("sha256="))


@cache
def fetched(lock: Path) -> list[Path]:
    """The locked jars as files, fetched where they are missing or not what the lock says."""
    jars = locked_jars(lock)
    with exclusive(CACHE / "jars.lock"), ThreadPoolExecutor(4) as threads:
        here = threads.map(Jar.is_here, jars)
        list(threads.map(_fetch, [jar for jar, is_here in zip(jars, here, strict=True) if not is_here]))
    return [jar.path for jar in jars]


def _fetch(jar: Jar) -> None:
    from jgo.maven import MavenContext  # a second of imports that a warm start need not pay

    project = MavenContext(repo_cache=_REPOSITORY).project(jar.group, jar.artifact)
    for _ in range(2):  # a broken download is fetched once more
        jar.path.unlink(missing_ok=True)
        try:
            project.at_version(jar.version).artifact().resolve()
        except Exception as error:  # jgo lets through whatever its HTTP client and its parsers raise
            raise CommandError(f"{jar.path.name} cannot be fetched: {error}") from error
        if jar.is_here():
            return
    jar.path.unlink(missing_ok=True)
    raise CommandError(f"{jar.path.name} was fetched twice, and its sha256 is not the one in the lock: trust neither")


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """One process at a time; the others wait."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
