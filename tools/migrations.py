"""Whether a migration would hold a lock for long: squawk checks the SQL of each migration as it would run.

Prints squawk's findings and ends with 1. `.squawk.toml` lists the rules that migrations may break.
"""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from io import SEEK_END, StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from alembic.migration import MigrationContext
from alembic.operations import Operations

from chassis.database.schema import LOCK_TIMEOUT


def sql(path: Path) -> str:
    """The statements of a migration, between BEGIN and COMMIT where it runs in a transaction."""
    spec = spec_from_file_location("migration", path)
    assert spec is not None
    assert spec.loader is not None
    migration = module_from_spec(spec)
    spec.loader.exec_module(migration)
    written = StringIO(f"{LOCK_TIMEOUT};\n")
    written.seek(0, SEEK_END)
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": written, "transactional_ddl": True}
    )
    with Operations.context(context), context.begin_transaction():
        migration.upgrade()
    return written.getvalue()


def main() -> int:
    with TemporaryDirectory() as folder:
        for path in sorted(Path.cwd().glob("services/*/migrations/[0-9]*.py")):
            copy = Path(folder, *path.relative_to(Path.cwd()).parts[1:]).with_suffix(".sql")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(sql(path))
        squawk = [str(Path(sys.executable).with_name("squawk")), "--config", str(Path(".squawk.toml").resolve())]
        return subprocess.run([*squawk, "**/*.sql"], cwd=folder).returncode


if __name__ == "__main__":
    sys.exit(main())
