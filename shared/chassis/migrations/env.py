"""Alembic's environment for every service: its own tables against its own database."""

from typing import Any

from alembic import context

from chassis.schema import TABLES


def include(_: Any, name: str | None, kind: str, reflected: bool, __: Any) -> bool:
    """Leave the chassis' own tables out of comparisons."""
    return not (kind == "table" and reflected and (name in TABLES or str(name).startswith("outbox_history")))


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=context.config.attributes["metadata"],
    include_object=include,
    compare_type=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
