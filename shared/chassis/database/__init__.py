"""A service's own PostgreSQL database: tables, the unit of work that loads, locks and writes rows, and migrations.

Handlers and routes get a unit of work and never commit it. They declare or lock the rows that they change; messages
leave in the same transaction, through the outbox.
"""

from chassis.database.errors import RETRYABLE, TRANSIENT, is_transient
from chassis.database.loading import Rows, rows
from chassis.database.tables import Schema, Table, Timestamptz, new_id
from chassis.database.unit_of_work import Causation, UnitOfWork

__all__ = [
    "RETRYABLE",
    "TRANSIENT",
    "Causation",
    "Rows",
    "Schema",
    "Table",
    "Timestamptz",
    "UnitOfWork",
    "is_transient",
    "new_id",
    "rows",
]
