"""Alembic's environment for every service: its own tables against its own database."""

from alembic import context

from chassis.database.schema import LOCK_TIMEOUT, include

connection = context.config.attributes["connection"]
connection.exec_driver_sql(LOCK_TIMEOUT)
connection.commit()
context.configure(
    connection=connection,
    target_metadata=context.config.attributes["metadata"],
    include_object=include,
    compare_type=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
