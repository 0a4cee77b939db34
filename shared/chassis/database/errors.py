"""Transient errors of the database, which pass by themselves, and retryable errors, which a conflict causes."""

import asyncpg

# The database, or the way to it, does not work now: the same transaction may succeed later.
TRANSIENT = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection was cut in the middle of an operation
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.DiskFullError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.UndefinedTableError,
    asyncpg.ObjectNotInPrerequisiteStateError,  # the server does not accept connections now
    asyncpg.ReadOnlySQLTransactionError,  # a standby that is about to take over
)

# Another transaction was in the way: the same transaction may succeed at once.
RETRYABLE = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.UniqueViolationError,
)


def is_transient(error: BaseException) -> bool:
    """Whether to wait for the database. A value that it cannot take is an InterfaceError too, and no reason to wait."""
    return isinstance(error, TRANSIENT) and not isinstance(error, (ValueError, *RETRYABLE))
