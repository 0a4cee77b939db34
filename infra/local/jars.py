"""Jars of a lock file: downloaded once into a cache that all checkouts of a user share, and checked by sha256."""

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

    def is_cached(self) -> bool:
        return self.path.exists() and hashlib.sha256(self.path.read_bytes()).hexdigest() == self.sha256


def read_lock(lock: Path) -> list[Jar]:
    """The lines of a lock file, `group:artifact:version sha256=… size=…`, in the order of the class path."""
    return [_jar(*line.split()) for line in lock.read_text().splitlines()]


def _jar(coordinate: str, sha256: str, *_: str) -> Jar:
    group, artifact, version = coordinate.split(":")
    return Jar(group, artifact, version, sha256.removeprefix("sha256="))


@cache
def fetch_jars(lock: Path) -> list[Path]:
    """The locked jars as files. A jar that is missing, or whose sha256 differs from the lock's, is downloaded."""
    jars = read_lock(lock)
    with exclusive_lock(CACHE / "jars.lock"), ThreadPoolExecutor(4) as threads:
        cached = threads.map(Jar.is_cached, jars)
        list(threads.map(_fetch, [jar for jar, is_cached in zip(jars, cached, strict=True) if not is_cached]))
    return [jar.path for jar in jars]


def _fetch(jar: Jar) -> None:
    from jgo.maven import MavenContext  # takes a second to import, which a start with cached jars need not pay

    project = MavenContext(repo_cache=_REPOSITORY).project(jar.group, jar.artifact)
    for _ in range(2):  # a broken download is repeated once
        jar.path.unlink(missing_ok=True)
        try:
            project.at_version(jar.version).artifact().resolve()
        except Exception as error:  # jgo lets through all that its HTTP client and its parsers raise
            raise CommandError(f"{jar.path.name} cannot be downloaded: {error}") from error
        if jar.is_cached():
            return
    jar.path.unlink(missing_ok=True)
    raise CommandError(f"{jar.path.name} was downloaded twice, and its sha256 differs from the one in the lock file")


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """One process at a time; the others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
