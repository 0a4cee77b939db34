"""What migrations call, and how the chassis' own tables get into every service's database.

The chassis has a branch of revisions of its own (`alembic/versions`, label `chassis`), so that a change of its tables
needs no copy in each service: `run SERVICE migrate` runs that branch before the one of the service.
"""

from pathlib import Path
from typing import Any

from alembic import op

ALEMBIC = Path(__file__).parent / "alembic"
CHASSIS_MIGRATIONS = ALEMBIC / "versions"
LOCK_TIMEOUT = "SET lock_timeout = '3s'"  # a migration that waits for a lock makes all that come after it wait, too
TABLES = {"outbox", "inbox", "dead_letter_keys", "dead_letters", "idempotency_keys"}


def script(sql: str) -> None:
    """Run statements one by one, as the driver wants it; each ends with a semicolon at the end of a line."""
    for statement in sql.split(";\n"):
        if statement.strip():
            op.execute(statement)


def index_concurrently(name: str, on: str, *, unique: bool = False) -> None:
    """Build an index while its table is in use, outside of any transaction; one that broke off is built anew.

    `index_concurrently("carts_expires_at", "carts (expires_at)")`.
    """
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # it may wait: it blocks no other transaction
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY {name} ON {on}")
        op.execute(LOCK_TIMEOUT)


def include(_: Any, name: str | None, kind: str, reflected: bool, __: Any) -> bool:
    """For Alembic: leave the chassis' own tables out of comparisons."""
    return not (kind == "table" and reflected and (name in TABLES or str(name).startswith("outbox_history")))
