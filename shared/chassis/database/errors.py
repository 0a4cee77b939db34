"""Which failures of the database pass: those to wait out, and those to try again at once."""

import asyncpg

# The database or the way to it is away: the same work may succeed later.
TRANSIENT = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection was cut in the middle of something
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.DiskFullError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.UndefinedTableError,
    asyncpg.ObjectNotInPrerequisiteStateError,  # it does not accept connections now
    asyncpg.ReadOnlySQLTransactionError,  # a standby that is about to take over
)

# Somebody else was in the way: the same work may succeed at once.
RETRYABLE = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.UniqueViolationError,
)


def is_transient(error: BaseException) -> bool:
    """Whether the database is away. A value it cannot take is an InterfaceError too, and no reason to wait."""
    return isinstance(error, TRANSIENT) and not isinstance(error, (ValueError, *RETRYABLE))
